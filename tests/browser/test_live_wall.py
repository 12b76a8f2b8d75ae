"""The live wall: what the browser shows and measures is what the library computes."""

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import alexnet

import camwall
from camwall.errors import CamwallError
from camwall.methods import METHODS, Evidence, explain_each, render
from camwall.metrics import change
from camwall.models import WalledModel, build_wall, efficientnet_lite0, fill
from camwall.plots import live
from camwall.stacks import Stacks
from camwall.theory.dial import windowed_gradcam
from camwall.wall import Wall
from tests.helpers.blots import made
from tests.helpers.pages import opened

WALLS = (96, 160, 192)
CASES = {"a level wall": Wall.rows(224, 224, 160), "an upright wall": Wall.columns(224, 224, 160)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Stacks]:
    folder = tmp_path_factory.mktemp("stacks")
    return [made(folder / str(i), wall, i) for i, wall in enumerate(CASES.values())]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def page(
    browser: Any,
    sets: list[Stacks],
    network: torch.nn.Module,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A page with nothing but the live wall of two cases, opened from a file."""
    cases = [live.Case(stacks, 0, np.array([0.1, 0.2, 0.3])) for stacks in sets]
    html = live.live_wall(network, cases, WALLS).data
    with opened(browser, tmp_path_factory.mktemp("page"), html, "live-wall.js") as page:
        page.wait_for_selector("#live-wall[data-shown]")
        yield page


def act(page: Any, script: str, *arguments: Any) -> None:
    """Do something to the live wall, and wait until it is drawn."""
    before = page.evaluate("document.getElementById('live-wall').dataset.shown")
    page.evaluate(script, list(arguments))
    page.wait_for_function(
        "before => document.getElementById('live-wall').dataset.shown !== before", arg=before
    )


def choose(page: Any, group: str, index: int) -> None:
    if not page.locator(f"input[name=lw-{group}]").nth(index).is_checked():
        act(page, "([g, i]) => document.getElementsByName(`lw-${g}`)[i].click()", group, index)


def turn(page: Any, control: str, value: int) -> None:
    """Put a range input somewhere, as a mouse would."""
    if page.locator(control).input_value() != str(value):
        act(
            page,
            "([c, v]) => { const r = document.querySelector(c); r.value = v; "
            "r.dispatchEvent(new Event('input')); }",
            control,
            value,
        )


def images(stacks: Stacks, model: WalledModel) -> Tensor:
    """The three variants and noise, as the network takes them."""
    loaded = stacks.images(model.preprocessing)
    assert stacks.wall is not None
    return torch.cat([loaded, fill("noise", loaded[:1], stacks.wall, model.preprocessing)])


def walled(network: torch.nn.Module, stacks: Stacks, at: int) -> WalledModel:
    make = Wall.columns if stacks.wall is not None and stacks.wall.row is None else Wall.rows
    return build_wall(network, make(224, 224, at))


@pytest.mark.parametrize(("case", "at"), list(itertools.product(range(len(CASES)), WALLS)))
def test_numbers_are_the_librarys(
    page: Any, sets: list[Stacks], network: torch.nn.Module, case: int, at: int
) -> None:
    """Leaks, responses, the dial and scores, with each of the four behind each wall."""
    model = walled(network, sets[case], at)
    inputs = images(sets[case], model)
    with torch.no_grad():
        evidence = Evidence(model, inputs)
        raw = explain_each(model, inputs, live.METHODS, normalize=False)
        scores = model(inputs)
        if at <= 160:  # the wall hides all that differs: each alone, as threads share out a batch
            scores = torch.cat([model(one) for one in inputs.split(1)])
    dialled = [windowed_gradcam(evidence.maps, evidence.gradients, r).detach() for r in range(7)]
    choose(page, "cases", case)
    turn(page, "#lw-wall", WALLS.index(at))
    for behind in range(4):
        choose(page, "behind", behind)
        shown = page.eval_on_selector_all(".lw-card", "all => all.map(one => ({...one.dataset}))")
        assert [one["method"] for one in shown] == sorted(
            live.METHODS, key=lambda name: not METHODS[name].sees_through
        )
        for one in shown:
            of_all = raw[one["method"]]
            own = of_all[behind : behind + 1]
            leak = float(camwall.leak(render(own, (224, 224)), model.wall))
            assert float(one["leak"]) == pytest.approx(leak, abs=1e-3), one
            if at > 160:
                assert one["response"] == "null"
                continue
            moved = float(change(own.expand_as(of_all), of_all).max())
            assert float(one["response"]) == pytest.approx(moved, rel=1e-3, abs=1e-3), one
            assert (float(one["response"]) == 0) == (moved == 0), one
        for radius, maps in enumerate(dialled):
            turn(page, "#lw-dial", radius)
            leak = float(camwall.leak(render(maps[behind][None], (224, 224)), model.wall))
            shown_leak = page.locator(".lw-right").get_attribute("data-leak")
            assert float(shown_leak) == pytest.approx(leak, abs=1e-3), radius
        top = scores[behind].argmax()
        texts = page.locator(".lw-scores tbody tr").first.locator("th, td").all_inner_texts()
        assert model.class_names is not None
        assert texts[0] == model.class_names[top]
        assert np.float32(texts[2]) == scores[behind, top].numpy()
        everything = hashlib.sha256(scores[behind].numpy().tobytes()).hexdigest()
        assert page.locator("#live-wall").get_attribute("data-print") == everything[:12]


def pictures(page: Any) -> dict[str, str]:
    """What each canvas shows."""
    found = page.eval_on_selector_all(
        "#live-wall canvas",
        "all => all.map((one, i) => [one.closest('[data-method]')?.dataset.method "
        "?? one.closest('.lw-panel')?.className ?? `thumbnail ${i}`, one.toDataURL()])",
    )
    return dict(found)


def settle(page: Any) -> None:
    """Back to the first case, its wall, and what stands there."""
    choose(page, "cases", 1)
    choose(page, "cases", 0)
    choose(page, "behind", 0)
    page.locator(".lw-left select").select_option("GradCAM")
    page.locator(".lw-right select").select_option("HiResCAM")


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_swapping_moves_some_maps_and_no_score(page: Any) -> None:
    """The maps that change are those whose methods see through; scores stay as they are."""
    settle(page)
    before, scores = pictures(page), page.locator(".lw-scores").inner_text()
    frozen = [name for name in live.METHODS if not METHODS[name].sees_through]
    raw = page.eval_on_selector_all(
        ".lw-card", "all => all.map(one => [one.dataset.method, one.dataset.leak])"
    )
    choose(page, "behind", 2)
    assert page.locator(".lw-scores").inner_text() == scores
    assert "0 of 1000 scores changed" in page.locator(".lw-said").inner_text()
    after = dict(
        page.eval_on_selector_all(
            ".lw-card", "all => all.map(one => [one.dataset.method, one.dataset.leak])"
        )
    )
    assert {name for name, leak in raw if after[name] == leak} == set(frozen)
    # Pictures differ where the photograph beneath the maps does, for all of them.
    assert {"GradCAM", "lw-panel lw-photo"} <= changed(before, pictures(page))


def test_each_control_changes_what_is_shown(page: Any) -> None:
    """Method choices, cards, dial and wall, by keyboard where it is an input."""
    settle(page)
    before = pictures(page)
    page.locator(".lw-left select").select_option("EigenCAM")
    assert changed(before, pictures(page)) == {"lw-panel lw-left"}

    settle(page)
    before = pictures(page)
    page.locator(".lw-card[data-method=XGradCAM]").focus()
    page.keyboard.press("Enter")
    assert page.locator(".lw-right select").input_value() == "XGradCAM"
    assert changed(before, pictures(page)) == {"lw-panel lw-right"}

    settle(page)
    leaks = []
    page.locator("#lw-dial").focus()
    page.keyboard.press("Home")
    for _ in range(7):
        leaks.append(float(page.locator(".lw-right").get_attribute("data-leak")))
        page.keyboard.press("ArrowRight")
    assert len(set(leaks)) > 3
    turn(page, "#lw-dial", 6)
    sides = [page.locator(f".lw-{which}").get_attribute("data-leak") for which in ("left", "right")]
    assert float(sides[0]) == pytest.approx(float(sides[1]), abs=1e-9)

    settle(page)
    scores = page.locator(".lw-scores").inner_text()
    page.locator("#lw-wall").focus()
    page.keyboard.press("Home")
    page.wait_for_function(
        "scores => document.querySelector('.lw-scores').innerText !== scores", arg=scores
    )
    assert "The network now sees" in page.locator(".lw-said").inner_text()
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('.lw-frozen').innerText.includes('lower')")
    assert "no response is given" in page.locator(".lw-frozen").inner_text()
    assert "less on 0 of them" in page.locator(".lw-typical").inner_text()  # whatever was done


def test_what_is_said_of_leaks_is_so(
    page: Any, sets: list[Stacks], network: torch.nn.Module
) -> None:
    """Of HiResCAM's leak how large it is; of EigenGradCAM whether it points there."""
    for case in range(len(CASES)):
        choose(page, "cases", case)
        model = walled(network, sets[case], 160)
        turn(page, "#lw-wall", WALLS.index(160))
        raw = explain_each(model, images(sets[case], model), ["EigenGradCAM"], normalize=False)
        behind = raw["EigenGradCAM"][:, ~model.visible_cells]
        said = []
        for what in range(4):
            choose(page, "behind", what)
            hint = page.locator(".lw-hint").last.inner_text()
            shown = page.locator("[data-method=HiResCAM] .lw-leak").inner_text()
            assert f"HiResCAM’s {shown}" in hint
            said.append("points behind the wall without looking" in hint)
        assert said == (behind > 0).any(dim=1).tolist()


@pytest.mark.parametrize("case", [0, 1])
def test_the_wall_can_be_dragged(page: Any, case: int) -> None:
    """By its grip, along either axis, to the nearest place."""
    settle(page)
    choose(page, "cases", case)
    page.locator(".lw-photo").scroll_into_view_if_needed()
    grip = page.locator(".lw-grip").bounding_box()
    photo = page.locator(".lw-photo .lw-plate").bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(
        photo["x"] + photo["width"] * 0.45, photo["y"] + photo["height"] * 0.45, steps=4
    )
    page.mouse.up()
    page.wait_for_function("document.querySelector('#lw-wall').value === '0'")
    which = ("rows", "columns")[case]
    assert f"{which} 96 to 223" in page.locator("output[for=lw-wall]").inner_text()


def test_a_network_whose_head_does_not_average_is_refused(sets: list[Stacks]) -> None:
    """The dial would be wrong on it."""
    torch.manual_seed(0)
    case = live.Case(sets[0], 0, np.array([0.1, 0.2, 0.3]))
    with pytest.raises(CamwallError, match="averages over cells"):
        live.live_wall(alexnet().eval(), [case], (160,))
