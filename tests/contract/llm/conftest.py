from collections.abc import Callable, Iterator

import pytest

from actors.rehearsal_llm.server import RehearsalServer
from bus.settings import LlmSettings
from tests.contract.llm.bridge import Bench


@pytest.fixture
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(llm: LlmSettings, *topics: str) -> Bench:
        bench = Bench(tmp_path_factory.mktemp("b"), llm)
        benches.append(bench)
        bench.open(topics or ("reply.",))
        return bench

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer().running() as running:
        running.behave({"token_delay_ms": 0})
        yield running
