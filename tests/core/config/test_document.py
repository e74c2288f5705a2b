import io

import pytest

from corepress.config import Document, Problem, dump_yaml, load_yaml, raise_problems
from corepress.errors import ConfigError


def test_every_path_has_the_line_of_its_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("stages:\n  - algorithm: magnitude\n    config:\n      a.b: 1\n  - 3\n")
    document = load_yaml(str(path))
    assert document.name == "recipe.yaml"
    assert document.data == {"stages": [{"algorithm": "magnitude", "config": {"a.b": 1}}, 3]}
    assert document.lines == {
        "stages": 1, "stages[0]": 2, "stages[0].algorithm": 2, "stages[0].config": 3, "stages[0].config.a.b": 4,
        "stages[1]": 5,
    }  # fmt: skip
    assert document.origin("stages[0].config.a.b") == "recipe.yaml, line 4"
    assert document.origin("stages[2]") is None


def test_the_line_of_something_absent_is_that_of_what_would_hold_it():
    document = Document("x.yaml", {}, {"a": 1, "a.b[0]": 3})
    assert [document.line(path) for path in ("a.b[0].c.d", "a.c", "a.b[1]", "z")] == [3, 1, 1, None]


def test_merged_keys_have_the_lines_on_which_they_stand():
    document = load_yaml(io.StringIO("base: &base\n  n: 1\n  m: 2\nother:\n  <<: *base\n  m: 3\n"))
    assert document.data["other"] == {"n": 1, "m": 3}
    assert (document.lines["other.n"], document.lines["other.m"]) == (2, 6)


def test_a_value_that_contains_itself_ends():
    assert load_yaml(io.StringIO("a: &a\n  b: *a\n")).lines == {"a": 1, "a.b": 2}


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text):
    assert load_yaml(io.StringIO(text)).data == {}


def test_numbers_with_exponents_need_no_decimal_point():
    assert load_yaml(io.StringIO("{a: 1e-4, b: 2.5e3, c: -1E+2, d: 1.5, e: e5}")).data == {
        "a": 1e-4, "b": 2500.0, "c": -100.0, "d": 1.5, "e": "e5",
    }  # fmt: skip


def test_text_that_looks_like_a_number_is_written_so_that_it_stays_text():
    data = {"1e3": "2e-4", "tau": 1e-7, "n": 3}
    assert load_yaml(io.StringIO(dump_yaml(data))).data == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", "<yaml>: the file must hold a mapping of options, not a list"),
        ("abc", "<yaml>: the file must hold a mapping of options, not 'abc'"),
        ("a:\n  b: 1\n  b: 2\n", "<yaml>: line 3, a.b: this key is given a second time in the same mapping; keep one"),
        ("a: [1\n", "<yaml>: line 2, broken YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: !!python/name:os.system x\n", "<yaml>: line 1, broken YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/name:os.system'"),
        ("a: 2024-13-45\n", "<yaml>: broken YAML: month must be in 1..12"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_configuration_error(text, expected):
    with pytest.raises(ConfigError) as caught:
        load_yaml(io.StringIO(text))
    assert str(caught.value) == expected


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: there is no such file"):
        load_yaml(tmp_path / "absent.yaml")


def test_bytes_that_are_no_text_are_a_configuration_error(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match=r"^x\.yaml: broken YAML: "):
        load_yaml(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"^<yaml>: broken YAML: "):
        load_yaml(io.StringIO("a: \x00"))


def test_a_directory_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="the file cannot be read"):
        load_yaml(tmp_path)


def test_text_in_place_of_a_path_is_recognised():
    with pytest.raises(ConfigError, match=r"wrap text in io.StringIO"):
        load_yaml("a: 1\nb: 2\n")


def test_other_sources_are_refused():
    with pytest.raises(ConfigError, match="expected a path or a text stream, got 3"):
        load_yaml(3)


def test_problems_are_raised_in_the_order_of_their_lines():
    document = Document("x.yaml", {}, {"a": 7, "b": 3})
    with pytest.raises(ConfigError) as caught:
        raise_problems([Problem("a.x", "first"), Problem("b", "second"), Problem("", "third")], document)
    assert str(caught.value) == "x.yaml: 3 problems\n  third\n  line 3, b: second\n  line 7, a.x: first"
    assert caught.value.problems == ("third", "line 3, b: second", "line 7, a.x: first")
