"""Makes an instance of any message type: a fixed one for the golden bytes, and hypothesis strategies for all the others."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

ANY_CHARACTER = st.characters(codec="utf-8")
NO_CONTROLS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/")


def example(kind: type) -> Any:
    """The one fixed instance of a message type."""
    return msgspec.convert(_example(mi.type_info(kind)), kind)


def _example(info: mi.Type) -> Any:
    match info:
        case mi.StructType(fields=fields, tag_field=tag_field, tag=tag):
            values = {field.encode_name: _example(field.type) for field in fields}
            return values | ({tag_field: tag} if tag_field else {})
        case mi.StrType():
            return "text"
        case mi.LiteralType(values=values):
            return values[0]
        case mi.IntType(ge=least, multiple_of=step):
            return max(step or 7, least or 0)
        case mi.FloatType():
            return 0.5
        case mi.BoolType():
            return True
        case mi.ListType(item_type=item):
            return [_example(item)]
        case mi.DictType(key_type=key, value_type=value):
            return {_example(key): _example(value)}
        case mi.UnionType(types=types):
            return _example(types[0])
        case mi.LiteralType(values=values):
            return values[0]
        case mi.NoneType():
            return None
    raise AssertionError(f"no example for {info}: add it here")


def any_of(kind: type) -> st.SearchStrategy[Any]:
    """Any instance of a message type."""
    return _strategy(mi.type_info(kind)).map(lambda plain: msgspec.convert(plain, kind))


def _strategy(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.StructType(fields=fields, tag_field=tag_field, tag=tag):
            parts = {field.encode_name: _strategy(field.type) for field in fields}
            return st.fixed_dictionaries(parts | ({tag_field: st.just(tag)} if tag_field else {}))
        case mi.StrType(min_length=least, max_length=longest, pattern=pattern):
            alphabet = NO_CONTROLS if pattern else ANY_CHARACTER
            return st.text(alphabet, min_size=least or 0, max_size=min(longest or 40, 40))
        case mi.LiteralType(values=values):
            return st.sampled_from(values)
        case mi.IntType(ge=least, le=most, multiple_of=step):
            step = step or 1
            least, most = -(2**63) if least is None else least, 2**63 - 1 if most is None else most
            return st.integers(-(-least // step), most // step).map(lambda number: number * step)
        case mi.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False)
        case mi.BoolType():
            return st.booleans()
        case mi.ListType(item_type=item):
            return st.lists(_strategy(item), max_size=3)
        case mi.DictType(key_type=key, value_type=value):
            return st.dictionaries(_strategy(key), _strategy(value), max_size=3)
        case mi.UnionType(types=types):
            return st.one_of([_strategy(each) for each in types])
        case mi.LiteralType(values=values):
            return st.sampled_from(values)
        case mi.NoneType():
            return st.none()
    raise AssertionError(f"no strategy for {info}: add it here")
