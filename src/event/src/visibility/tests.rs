use super::*;

const VISIBILITIES: [Visibility; 4] = [
    Visibility::Joined,
    Visibility::Invited,
    Visibility::Shared,
    Visibility::WorldReadable,
];

fn sees(visibility: Visibility, membership: Membership, joined_later: bool) -> bool {
    is_visible(Viewpoint {
        visibility,
        membership,
        joined_later,
        ..Viewpoint::default()
    })
}

#[test]
fn each_visibility_with_each_membership() {
    use Membership::{Ban, Invite, Join, Knock, Leave};
    for (index, visibility) in VISIBILITIES.into_iter().enumerate() {
        let row = |joined_later: bool| {
            [Join, Invite, Knock, Ban, Leave]
                .map(|membership| sees(visibility, membership, joined_later))
        };
        let (never, later) = [
            (
                [true, false, false, false, false],
                [true, false, false, false, false],
            ),
            (
                [true, true, false, false, false],
                [true, true, false, false, false],
            ),
            ([true, false, false, false, false], [true; 5]),
            ([true; 5], [true; 5]),
        ][index];
        assert_eq!(row(false), never, "{visibility:?}");
        assert_eq!(row(true), later, "{visibility:?}, joined later");
    }
}

#[test]
fn a_change_of_visibility_is_seen_under_the_more_open_value() {
    for before in VISIBILITIES {
        for after in VISIBILITIES {
            for membership in [Membership::Leave, Membership::Invite, Membership::Join] {
                let viewpoint = Viewpoint {
                    visibility: before,
                    visibility_set: Some(after),
                    membership,
                    ..Viewpoint::default()
                };
                let expected = sees(before, membership, false) || sees(after, membership, false);
                assert_eq!(is_visible(viewpoint), expected);
            }
        }
    }
}

#[test]
fn own_joins_and_leaves_are_always_seen() {
    for (before, after) in [
        (Membership::Leave, Membership::Join),
        (Membership::Join, Membership::Leave),
        (Membership::Join, Membership::Ban),
    ] {
        assert!(is_visible(Viewpoint {
            visibility: Visibility::Joined,
            membership: before,
            membership_set: Some(after),
            ..Viewpoint::default()
        }));
    }
}

#[test]
fn unknown_values_are_shared() {
    assert_eq!(Visibility::parse("everybody"), Visibility::Shared);
    assert_eq!(Visibility::default(), Visibility::Shared);
    for name in ["join", "invite", "knock", "ban", "leave"] {
        assert_eq!(Membership::parse(name).map(Membership::as_str), Some(name));
    }
    assert_eq!(Membership::parse("visit"), None);
}
