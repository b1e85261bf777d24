use super::*;

#[test]
fn globs_match_whole_texts() {
    let cases = [
        ("abc", "abc", true),
        ("abc", "ABC", true),
        ("abc", "abcd", false),
        ("abc", "ab", false),
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "anything", true),
        ("a*c", "ac", true),
        ("a*c", "abbbc", true),
        ("a*c", "abbb", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a?c", "aéc", true),
        ("*.example.*", "matrix.example.org", true),
        ("a**b", "ab", true),
        ("?*", "", false),
        ("ÄÖ*", "äöü", true),
        ("[a]", "a", false),
        (".*", "x", false),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(
            Glob::new(pattern).matches(text),
            expected,
            "{pattern} on {text}"
        );
    }
}

#[test]
fn globs_match_words() {
    let cases = [
        ("ex*ple", "An example event.", true),
        ("exple", "An example event.", false),
        ("cake", "a cake.", true),
        ("cake", "Cake", true),
        ("cake", "pancake", false),
        ("cake", "cakes", false),
        ("*cake*lie", "the cake is a lie!", true),
        ("@room", "hey @room", true),
        ("@room", "mail@room", true),
        ("lunc?*", "is it lunch time", true),
        ("foo bar", "x foo bar y", true),
        ("foo", "foo_bar", false),
        ("foo", "foo-bar", true),
        ("é", "é", true),
        ("", "text", false),
        ("*", "text", true),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(
            Glob::new(pattern).matches_word(text),
            expected,
            "{pattern} on {text}"
        );
    }
    assert!(Glob::literal("a*b").matches_word("x a*b y"));
    assert!(!Glob::literal("a*b").matches_word("x a-b y"));
}

/// The obvious exponential matcher.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            slow(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, tail)| slow(pattern, tail))
        }
        (Some((head, rest)), Some((first, tail))) if *head == '?' || head == first => {
            slow(rest, tail)
        }
        _ => false,
    }
}

proptest::proptest! {
    #[test]
    fn globs_agree_with_the_obvious_matcher(pattern in "[ab*?]{0,9}", text in "[ab]{0,12}") {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        proptest::prop_assert_eq!(
            Glob::new(&pattern).matches(&text),
            slow(&characters(&pattern), &characters(&text))
        );
    }
}

#[test]
fn s20_hostile_globs_take_no_more_steps_than_others() {
    // With backtracking this is 10^4 to the 30th power steps.
    let pattern = "*a".repeat(30) + "*b";
    let text = "a".repeat(60_000);
    assert!(!Glob::new(&pattern).matches(&text));
    assert!(!Glob::new(&pattern).matches_word(&text));
    let long = "?".repeat(1024);
    assert!(Glob::new(&long).matches(&"x".repeat(1024)));
    let too_long = "?".repeat(1025);
    assert!(!Glob::new(&too_long).matches(&"x".repeat(1025)));
    assert!(!Glob::new(&too_long).matches_word(&"x".repeat(1025)));
}
