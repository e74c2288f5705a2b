import json

import pytest
import torch

from corepress import Pipeline


def test_the_plan_of_the_pipeline_is_printed(run, folder):
    import models

    result = run("plan", "recipe.yaml", "models:digits")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{Pipeline.from_yaml('recipe.yaml').plan(models.digits())}\n"


@pytest.mark.parametrize("model", ["models:ready", "models:digits", "models:Net"])
def test_a_model_is_a_module_or_a_callable_that_makes_one(run, folder, model):
    assert run("plan", "recipe.yaml", model).exit_code == 0


def test_json_is_the_plan_as_plain_data(run, folder):
    plan = json.loads(run("plan", "recipe.yaml", "models:digits", "--json").stdout)
    assert plan["rows"]["0.weight"]["status"] == "planned"
    assert plan["rows"]["0.weight"]["shape"] == [4, 1, 3, 3]


def test_the_report_file_holds_the_same_json(run, folder):
    printed = run("plan", "recipe.yaml", "models:digits", "--json", "--report", "plan.json").stdout
    assert (folder / "plan.json").read_text() == printed


def test_a_report_file_is_replaced(run, folder):
    (folder / "plan.json").write_text("old")
    assert run("plan", "recipe.yaml", "models:digits", "--report", "plan.json").exit_code == 0
    assert (folder / "plan.json").read_text().startswith("{")


def test_modules_of_the_current_directory_are_found(shell, folder):
    result = shell("plan", "recipe.yaml", "models:digits")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0.weight" in result.stdout


def test_a_state_is_loaded_before_planning(run, folder):
    import models

    state = models.digits().state_dict()
    torch.save({**state, "0.weight": torch.full_like(state["0.weight"], torch.nan)}, "nan.pt")
    result = run("plan", "recipe.yaml", "models:digits", "--state", "nan.pt")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 0.weight: ")


def test_a_target_that_cannot_store_the_plan_fails_the_work(run, folder):
    result = run("plan", "recipe.yaml", "models:digits", "--target", "iOS15")
    assert result.exit_code == 1
    needs = "75% sparse needs iOS16, but minimum_deployment_target is iOS15; raise the target"
    assert result.stderr == f"Error: 2 weights (0.weight, 3.weight): {needs}\n"


def test_strict_refuses_a_pattern_that_selects_nothing(run, folder):
    (folder / "recipe.yaml").write_text("stages: [{algorithm: magnitude, config: {module_name_configs: {'x.*': {}}}}]")
    assert run("plan", "recipe.yaml", "models:digits").exit_code == 0
    assert run("plan", "recipe.yaml", "models:digits", "--strict").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.yaml", "models:digits"], "nothing.yaml: there is no such file"),
        (["recipe.yaml", "models"], "model 'models' must have the form package.module:name"),
        (
            ["recipe.yaml", "models:digit"],
            "model 'models:digit': module 'models' has no 'digit'; did you mean 'digits'?",
        ),
        (
            ["recipe.yaml", "modles:digits"],
            "model 'modles:digits': module 'modles' cannot be imported: ModuleNotFoundError: No module named 'modles'",
        ),
        (["recipe.yaml", "models:number"], "model 'models:number' cannot be called: its type is int"),
        (["recipe.yaml", "models:text"], "model 'models:text' must be or return a torch.nn.Module, not a str"),
        (
            ["recipe.yaml", "models:needing"],
            "model 'models:needing' failed when called: TypeError: needing() missing 1 required positional argument: "
            "'something'",
        ),
        (
            ["recipe.yaml", "net.mlpackage", "--state", "small.pt"],
            "net.mlpackage: a Core ML package contains its weights; remove --state",
        ),
        (["recipe.yaml", "models:digits", "--state", "no.pt"], "no.pt: there is no such file"),
        (
            ["recipe.yaml", "models:digits", "--state", "recipe.yaml"],
            "recipe.yaml: cannot read a state dict from it; write one with torch.save(model.state_dict(), path)",
        ),
    ],
)
def test_wrong_arguments_are_one_message_and_exit_code_2(run, folder, arguments, message):
    result = run("plan", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")


def test_an_unknown_target_is_wrong_usage(run, folder):
    result = run("plan", "recipe.yaml", "models:digits", "--target", "iOS99")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: Invalid value for '--target': minimum_deployment_target 'iOS99' is not one of "
        "iOS15, iOS16, iOS17, iOS18, iOS26"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "wrong.pt: contains a list, not a state dict"),
        ({"state_dict": {}}, "wrong.pt: 'state_dict' is not a tensor; save only model.state_dict()"),
    ],
)
def test_a_file_that_holds_no_state_dict_is_refused(run, folder, content, message):
    torch.save(content, "wrong.pt")
    result = run("plan", "recipe.yaml", "models:digits", "--state", "wrong.pt")
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")


def test_all_mistakes_of_a_recipe_are_shown_with_their_lines(run, folder):
    (folder / "bad.yaml").write_text(
        "stages:\n  - algorithm: magnitud\n  - algorithm: magnitude\n    config: {global_config: {target_sparsit: 4}}\n"
    )
    result = run("plan", "bad.yaml", "models:digits")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: bad.yaml: 2 problems\n"
        "  line 2, stages[0].algorithm: unknown algorithm 'magnitud'; did you mean 'magnitude'?\n"
        "  line 4, stages[1].config.global_config.target_sparsit: unknown option 'target_sparsit' of "
        "ModuleMagnitudePrunerConfig; did you mean 'target_sparsity'?\n",
    )


@pytest.mark.parametrize("arguments", [["--debug", "plan"], ["plan", "--debug"]])
def test_debug_shows_the_traceback_before_the_message(run, folder, arguments):
    result = run(*arguments, "recipe.yaml", "models:digits", "--target", "iOS15")
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "\nError: 2 weights (0.weight, 3.weight): 75% sparse needs iOS16" in result.stderr
