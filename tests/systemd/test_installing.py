"""`supervisor install --systemd` into a folder: what a packager does, and what each next call does to what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import EarshotError
from supervisor.systemd.install import Place, install, uninstall

PYTHON = Path("/opt/earshot/bin/python")


class Session:
    """Installs into a folder, and keeps what was said."""

    def __init__(self, root: Path) -> None:
        self.place = Place(user=False, root=root)
        self.said: list[str] = []

    def install(self, variant: str = "both") -> list[str]:
        assert variant in ("service", "target", "both")
        self.said = []
        install(self.place, variant, self.said.append, PYTHON)  # type: ignore[arg-type]
        return self.said

    def uninstall(self, *, purge: bool = False) -> list[str]:
        self.said = []
        uninstall(self.place, self.said.append, purge=purge)
        return self.said

    def files(self) -> set[str]:
        return {path.relative_to(self.place.root).as_posix() for path in self.place.root.rglob("*") if path.is_file()}

    def lines(self, word: str) -> list[str]:
        return [line for line in self.said if line.startswith(word)]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_it_writes_units_user_and_configuration_and_says_so(session: Session) -> None:
    said = session.install()
    assert {
        "etc/systemd/system/earshot.service",
        "etc/systemd/system/earshot.target",
        "etc/systemd/system/earshot@.service",
        "etc/systemd/system/earshot@mic.service.d/10-device.conf",
        "etc/systemd/system/earshot-vllm.service",
        "etc/sysusers.d/earshot.conf",
        "etc/tmpfiles.d/earshot.conf",
        "etc/earshot/earshot.toml",
        "etc/earshot/earshot.env",
    } <= session.files()
    assert len(session.lines("wrote")) == len(session.files()) - 1  # the record is not spoken of
    assert any("systemctl enable --now earshot.service" in line for line in said)


def test_a_second_time_changes_nothing(session: Session) -> None:
    session.install()
    before = {path: path.stat().st_mtime_ns for path in session.place.root.rglob("*.service")}
    session.install()
    assert session.lines("wrote") + session.lines("renewed") + session.lines("removed") == []
    assert {path: path.stat().st_mtime_ns for path in session.place.root.rglob("*.service")} == before


def test_a_changed_configuration_is_kept_and_a_changed_unit_is_renewed(session: Session) -> None:
    session.install()
    mine, unit = session.place.config / "earshot.toml", session.place.units / "earshot.service"
    mine.write_text("[vad]\nmode = 2\n")
    unit.write_text("[Service]\n")
    session.install()
    assert mine.read_text() == "[vad]\nmode = 2\n"
    assert session.lines("kept") == [f"kept     {mine} (you changed it)"]
    assert "ExecStart" in unit.read_text()


def test_what_the_other_way_does_not_need_is_removed(session: Session) -> None:
    session.install()
    session.install("service")
    assert not any("earshot@" in name for name in session.files())


def test_uninstalling_removes_what_was_installed_and_nothing_else(session: Session) -> None:
    stranger = session.place.units / "earshot@mic.service.d" / "override.conf"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("[Service]\n")
    session.install()
    session.uninstall()
    assert session.files() == {stranger.relative_to(session.place.root).as_posix()}
    assert not session.place.config.exists()


def test_an_installation_that_was_interrupted_can_be_uninstalled(session: Session) -> None:
    def break_off(line: str) -> None:
        raise BrokenPipeError(line)

    with pytest.raises(BrokenPipeError):
        install(session.place, "target", break_off, PYTHON)
    assert session.files()
    session.uninstall()
    assert not any("earshot" in name for name in session.files())


def test_uninstalling_keeps_a_changed_configuration_unless_purged(session: Session) -> None:
    session.install()
    mine = session.place.config / "earshot.toml"
    mine.write_text("[vad]\nmode = 2\n")
    session.uninstall()
    assert session.files() == {"etc/earshot/earshot.toml"}
    session.install()
    assert mine.read_text() == "[vad]\nmode = 2\n"
    session.uninstall(purge=True)
    assert session.files() == set()


def test_uninstalling_what_was_never_installed_is_refused(session: Session) -> None:
    with pytest.raises(EarshotError, match="nothing is installed here"):
        session.uninstall()


def test_a_damaged_record_is_told(session: Session) -> None:
    session.install()
    session.place.record.write_text("{")
    with pytest.raises(EarshotError, match=r"installed\.json is damaged"):
        session.install()


def test_the_key_is_for_the_service_manager_alone(session: Session) -> None:
    session.install()
    assert (session.place.config / "earshot.env").stat().st_mode & 0o077 == 0
