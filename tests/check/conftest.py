"""What most tests of a check begin with: the small walled network and its images."""

import pytest

from tests.helpers.checks import image_files, small_model, some_images


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def images():
    return some_images()


@pytest.fixture
def folder(tmp_path):
    return image_files(tmp_path)
