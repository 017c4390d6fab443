"""An address of the web bears no password, however it is written; what is shown of one that does hides it."""

import pytest

from collectors.web_address import masked, web_address

PASSWORDS = [
    "http://bob:hunter2@a:9477",
    "http://:hunter2@a:9477",
    "https://hunter2@a",
    "http://bob:hun/hunter2@a:9477",
    "http://bob:#hunter2@a:9477",
    "http://bob:?hunter2@a:9477",
    "http://bob:hunter2@b@a:9477",
    "http://bob:hunter2\n@a:9477",
    "bob:hunter2@a:9477",
    "ftp://bob:hunter2@a",
    "hunter2@a:9477",
    " bob:hunter2@a",
]


def asked(url):
    return web_address(url, such_as="http://b:1, or null", instead="set token_file")


@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_is_refused_unseen_and_the_remedy_is_named(url):
    with pytest.raises(ValueError, match=r"bears a name or a password .*; set token_file") as caught:
        asked(url)
    assert "hunter2" not in str(caught.value)
    assert "***@a" in str(caught.value)


@pytest.mark.parametrize("url", ["", "a:9477", "ftp://a", "http://", "http://a:99999", "http://a:0", "http://a b:80"])
def test_what_is_no_address_is_refused_with_an_example(url):
    with pytest.raises(ValueError, match="allowed: an http or https address, such as http://b:1, or null"):
        asked(url)


@pytest.mark.parametrize("url", ["http://a:9477", "https://a.example/b/", "http://[fd00::7]:9477", "HTTP://a?b=c"])
def test_an_address_is_taken_as_it_is(url):
    assert asked(url) == url


@pytest.mark.parametrize("text", ["a:b", "", "http://a/b"])
def test_what_holds_no_password_is_shown_as_it_is(text):
    assert masked(text) == text
