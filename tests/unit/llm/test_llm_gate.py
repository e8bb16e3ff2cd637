from actors.llm.gate import Gate


def test_a_closed_gate_keeps_all_and_lets_it_through_in_order_when_it_is_opened() -> None:
    gate, done = Gate(is_open=False), list[str]()
    gate.do(lambda: done.append("one"))
    gate.do(lambda: done.append("two"))
    assert done == []
    gate.open()
    assert done == ["one", "two"]
    gate.do(lambda: done.append("three"))
    assert done == ["one", "two", "three"]


def test_an_open_gate_keeps_nothing() -> None:
    gate, done = Gate(is_open=True), list[str]()
    gate.do(lambda: done.append("one"))
    assert done == ["one"]
    gate.open()
    assert done == ["one"]
