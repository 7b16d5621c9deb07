"""Do the tests notice when the code that keeps people safe is wrong? See `campaign`."""
