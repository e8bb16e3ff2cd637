import subprocess
import sys
from pathlib import Path

import pytest

from actors.llm.connect import client_for, server_url
from actors.llm.errors import ServerUnavailable
from bus.addresses import Addresses
from bus.settings import LlmSettings, Settings


def test_the_configured_address_is_the_server() -> None:
    assert server_url(LlmSettings(url="http://spark:8000/v1"), Addresses(Path("/r"), Path("/s"))) == "http://spark:8000/v1"


def test_the_rehearsal_server_is_found_by_its_port_file_and_waited_for_until_there_is_one(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, tmp_path)
    rehearsal = LlmSettings(url="rehearsal")
    with pytest.raises(ServerUnavailable, match="has not started yet"):
        server_url(rehearsal, addresses)
    (tmp_path / "rehearsal-llm.port").write_text("4711\n")
    assert server_url(rehearsal, addresses) == "http://127.0.0.1:4711/v1"


def test_the_key_comes_from_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    settings = Settings(llm=LlmSettings(api_key_env="MY_KEY"))
    client = client_for(settings, Addresses(tmp_path, tmp_path), {"MY_KEY": "sesame"})
    assert client.api_key == "sesame"
    assert "sesame" not in repr(client)
    assert client_for(settings, Addresses(tmp_path, tmp_path), {}).api_key == ""


def test_the_actor_is_imported_without_the_http_library() -> None:
    """Its import costs more than all else that the actor does to be ready."""
    code = "import sys, actors.llm.actor; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3]).returncode == 0
