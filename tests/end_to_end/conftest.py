import pytest

from tests.end_to_end.processes import Server, node_exporter


@pytest.fixture
def server(tmp_path):
    made = []

    def make(*flags):
        made.append(Server(tmp_path, *flags))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(scope="session")
def exporter():
    with node_exporter() as address:
        yield address
