import pytest

from sentinel.correlation.virtual import is_virtual, services_behind

SHOP = ("PetSearch_AWS::ECS::Fargate", "petlistadoptions_AWS::ECS::Fargate", "PetSite", "payments", "payments-worker")


@pytest.mark.parametrize(
    ("rule", "name", "behind"),
    [
        ("the client node of a service is that service", "PetSearch_client", "PetSearch_AWS::ECS::Fargate"),
        (
            "a balancer whose name AWS cut short",
            "servi-searc.us-west-2.elb.amazonaws.com_remote",
            "PetSearch_AWS::ECS::Fargate",
        ),
        ("the same without a type", "servi-lista.us-west-2.elb.amazonaws.com", "petlistadoptions_AWS::ECS::Fargate"),
        ("a service of Kubernetes by its whole name", "payments.default.svc", "payments"),
        ("a word that two services have says nothing", "shop-payme-1a2b.elb.amazonaws.com", None),
        ("words that name different services say nothing", "searc-lista.elb.amazonaws.com", None),
        ("short words say nothing", "www.pet.com", None),
        ("an address says nothing", "169.254.170.2_remote", None),
        ("a name that nothing is like", "PGSQL Query_remote", None),
    ],
)
def test_who_is_behind_a_virtual_node(rule: str, name: str, behind: str | None):
    assert services_behind((*SHOP, name)).get(name) == behind, rule


def test_a_service_with_a_dot_in_its_name_is_a_service():
    assert not is_virtual("shop.payments")
    assert services_behind(("shop", "shop.payments")) == {}


def test_the_domain_of_a_database_is_no_name_of_a_service():
    database = "adoptions@db.us-west-2.rds.amazonaws.com_Database::SQL"
    assert services_behind((database, "amazon.com_remote")) == {}
