"""The check cv2: which one is imported, from which distribution, and what to do if it is broken."""

from __future__ import annotations

import cv2
import pytest

from tests.doctor.environment import Environment

MISSING = 'raise ImportError("{}: cannot open shared object file: No such file or directory")'
REINSTALL = "pip install --force-reinstall opencv-python-headless"


def test_the_one_that_is_here_is_named_with_its_distribution(environment: Environment) -> None:
    found = environment.finding("cv2")
    assert found["level"] == "OK"
    assert found["text"].startswith(f"{cv2.__version__} from opencv-python-headless ")
    assert found["text"].endswith(str(cv2.__file__))


def test_two_distributions_over_each_other_fail_and_both_have_to_go(environment: Environment) -> None:
    environment.cv2().opencv("opencv-python").opencv("opencv-python-headless")
    found = environment.finding("cv2")
    assert found["level"] == "FAIL"
    assert (
        "opencv-python 5.0.0.93 and opencv-python-headless 5.0.0.93 are installed on top of" in found["text"]
    )
    assert found["remedy"] == (
        "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
    )


def test_of_two_distributions_the_one_that_someone_built_is_the_one_to_install_again(
    environment: Environment,
) -> None:
    environment.cv2().opencv("opencv-python").opencv("opencv-python-headless", "5.0.0.93+cu130")
    remedy = environment.finding("cv2")["remedy"]
    assert remedy.endswith("&& pip install the wheel of opencv-python-headless 5.0.0.93+cu130")


def test_a_distribution_elsewhere_on_the_path_is_not_over_another(environment: Environment) -> None:
    environment.cv2().opencv("opencv-python-headless", "4.12.0")  # this one shadows the real one
    found = environment.finding("cv2")
    assert (found["level"], found["text"].split(",")[0]) == (
        "OK",
        "5.0.0 from opencv-python-headless 4.12.0",
    )


def test_a_cv2_of_no_distribution_is_a_warning(environment: Environment) -> None:
    found = environment.cv2().finding("cv2")
    assert found["level"] == "WARN"
    assert "5.0.0 from no distribution" in found["text"]
    assert REINSTALL in found["remedy"]


def test_one_with_windows_is_a_warning_because_pip_would_install_another_over_it(
    environment: Environment,
) -> None:
    found = environment.cv2().opencv("opencv-python").finding("cv2")
    assert found["level"] == "WARN"
    assert found["remedy"] == "pip uninstall -y opencv-python && pip install opencv-python-headless"


def test_one_that_is_too_old_fails(environment: Environment) -> None:
    found = environment.cv2(version="4.5.1").opencv("opencv-python-headless", "4.5.1.48").finding("cv2")
    assert found["level"] == "FAIL"
    assert found["text"].endswith("resnet-pipe needs 4.10")


@pytest.mark.parametrize(
    ("code", "said", "remedy"),
    [
        (MISSING.format("libGL.so.1"), "libGL.so.1: cannot open", "pip uninstall -y opencv-python "),
        (MISSING.format("libxcb-shape.so.0"), "libxcb-shape.so.0", "pip uninstall -y opencv-python "),
        ('raise ImportError("version `GLIBC_2.36\' not found")', "GLIBC_2.36", "built for a newer system"),
        ('raise ImportError("numpy.core.multiarray failed to import")', "multiarray", REINSTALL),
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found", REINSTALL),
        ("import os; os.abort()", "SIGABRT", REINSTALL),
        ("import os; os._exit(3)", "exited with status 3", REINSTALL),
        ("import sys; sys.modules['cv2'] = type(sys)('cv2')", "its library is missing", REINSTALL),
    ],
)
def test_an_import_that_fails_is_told_in_the_loader_s_words_with_the_remedy(
    environment: Environment, code: str, said: str, remedy: str
) -> None:
    found = environment.cv2(code).opencv("opencv-python").finding("cv2")
    assert found["level"] == "FAIL"
    assert found["text"].startswith("import cv2 fails: ")
    assert said in found["text"]
    assert "(opencv-python 5.0.0.93)" in found["text"]
    assert found["remedy"].startswith(remedy) or remedy in found["remedy"]


def test_two_distributions_explain_an_import_that_fails(environment: Environment) -> None:
    environment.cv2(MISSING.format("libGL.so.1")).opencv("opencv-python").opencv("opencv-python-headless")
    found = environment.finding("cv2")
    assert "libGL.so.1: cannot open" in found["text"]
    assert found["remedy"].startswith("pip uninstall -y opencv-python opencv-python-headless && ")
