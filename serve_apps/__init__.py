"""The edge: authenticate, translate, hand over."""
