//! S18: the state machine {active, locked, suspended, deactivated} × every way to a session.

use super::*;
use crate::{Erase, Error, Flag, Logout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Locked,
    Suspended,
    Deactivated,
}

const STATES: [State; 4] = [
    State::Active,
    State::Locked,
    State::Suspended,
    State::Deactivated,
];

/// A user with everything out of which a session can be made, then put into a state.
struct Holder {
    fixture: Fixture,
    session: Session,
    refresh_token: String,
    unused: crate::Refreshed,
    login_token: String,
}

async fn holder(state: State) -> Holder {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    let other = fixture.login("alice", &refreshable()).await.unwrap();
    let third = fixture.login("alice", &refreshable()).await.unwrap();
    let unused = fixture
        .accounts
        .refresh(&third.refresh_token.unwrap())
        .await
        .unwrap();
    let caller = fixture.caller(&session.access_token).await.unwrap();
    let (login_token, _) = fixture.accounts.login_token(&caller).await.unwrap();
    let user = &session.user_id;
    match state {
        State::Active => {}
        State::Locked => fixture.accounts.flag_set(user, Flag::Locked).await.unwrap(),
        State::Suspended => fixture
            .accounts
            .flag_set(user, Flag::Suspended)
            .await
            .unwrap(),
        State::Deactivated => fixture.accounts.deactivate(user, Erase::No).await.unwrap(),
    }
    Holder {
        fixture,
        session,
        refresh_token: other.refresh_token.unwrap(),
        unused,
        login_token,
    }
}

#[tokio::test]
async fn s18_no_way_to_a_session_forgets_the_state() {
    for state in STATES {
        let may = matches!(state, State::Active | State::Suspended);
        let holder = holder(state).await;
        let accounts = &holder.fixture.accounts;
        let by_password = holder.fixture.login("alice", &NewDevice::default()).await;
        assert_eq!(by_password.is_ok(), may, "password, {state:?}");
        let token = Login::Token(holder.login_token.clone());
        let by_token = accounts.login(token, &NewDevice::default()).await;
        assert_eq!(by_token.is_ok(), may, "login token, {state:?}");
        let by_refresh = accounts.refresh(&holder.refresh_token).await;
        assert_eq!(by_refresh.is_ok(), may, "refresh, {state:?}");
        let by_unused = accounts.refresh(&holder.unused.refresh_token).await;
        assert_eq!(by_unused.is_ok(), may, "unused refresh, {state:?}");
        let again = accounts
            .register(new_user("alice"), Some(&NewDevice::default()))
            .await;
        assert!(
            matches!(again, Err(Error::UserInUse)),
            "register, {state:?}"
        );
        let caller = Caller {
            user: holder.session.user_id.clone(),
            device: None,
            is_guest: false,
            is_admin: false,
            is_suspended: false,
            service: None,
        };
        let minted = accounts.login_token(&caller).await;
        assert_eq!(minted.is_ok(), may, "get_token, {state:?}");
    }
}

#[tokio::test]
async fn s18_old_tokens_say_what_the_state_is() {
    for state in STATES {
        let holder = holder(state).await;
        let result = holder.fixture.caller(&holder.session.access_token).await;
        let unused = holder.fixture.caller(&holder.unused.access_token).await;
        match state {
            State::Active => assert!(!result.unwrap().is_suspended && unused.is_ok()),
            State::Suspended => assert!(result.unwrap().is_suspended && unused.is_ok()),
            State::Locked => {
                let Err(AuthFailure::Locked { caller }) = result else {
                    panic!("{result:?}");
                };
                assert!(matches!(unused, Err(AuthFailure::Locked { .. })));
                // Logging out still works.
                holder.fixture.accounts.logout(&caller).await.unwrap();
                assert!(matches!(
                    holder.fixture.caller(&holder.session.access_token).await,
                    Err(AuthFailure::Unknown { .. })
                ));
            }
            State::Deactivated => {
                for result in [result, unused] {
                    let failure = result.unwrap_err();
                    assert!(matches!(
                        failure,
                        AuthFailure::Unknown { soft_logout: false }
                    ));
                }
            }
        }
    }
}

#[tokio::test]
async fn the_reason_is_told_to_whom_it_concerns() {
    let locked = holder(State::Locked).await;
    let result = locked.fixture.login("alice", &NewDevice::default()).await;
    assert!(matches!(result, Err(Error::Locked)));
    let login = password("alice", "wrong password");
    let result = locked
        .fixture
        .accounts
        .login(login, &NewDevice::default())
        .await;
    assert!(matches!(result, Err(Error::BadCredentials)));
    let gone = holder(State::Deactivated).await;
    let result = gone.fixture.login("alice", &NewDevice::default()).await;
    assert!(matches!(result, Err(Error::Deactivated)));
}

#[tokio::test]
async fn a_lock_is_lifted_and_nothing_is_lost() {
    let holder = holder(State::Locked).await;
    let accounts = &holder.fixture.accounts;
    let user = &holder.session.user_id;
    assert!(accounts.user(user).await.unwrap().unwrap().is_locked);
    accounts.flag_clear(user, Flag::Locked).await.unwrap();
    assert!(holder.fixture.lives(&holder.session.access_token).await);
    assert!(accounts.refresh(&holder.refresh_token).await.is_ok());
}

#[tokio::test]
async fn deactivation_is_for_good_and_leaves_the_rooms() {
    let holder = holder(State::Deactivated).await;
    let (fixture, accounts) = (&holder.fixture, &holder.fixture.accounts);
    let user = &holder.session.user_id;
    for table in [0x41, 0x42, 0x43, 0x44, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e] {
        assert_eq!(fixture.store.table_bytes(table), 0, "table {table:#x}");
    }
    assert!(accounts.profile(user).await.unwrap().is_none());
    let snapshot = hearth_store::Backend::snapshot(&fixture.store)
        .await
        .unwrap();
    let start = (hearth_store::Position::ZERO, 0);
    let jobs =
        hearth_data::jobs::after(&*snapshot, hearth_data::jobs::Owner::Rooms, start, 10).await;
    let jobs: Vec<_> = jobs.unwrap().into_iter().map(|(_, job)| job).collect();
    let leave = hearth_data::jobs::JobRow::LeaveAllRooms {
        user: user.to_string(),
        erase: false,
    };
    assert_eq!(jobs, [leave]);
    for flag in [Flag::Admin, Flag::Locked, Flag::Suspended] {
        let result = accounts.flag_set(user, flag).await;
        assert!(matches!(result, Err(Error::Deactivated)));
    }
    let result = accounts
        .password_set(user, "a new password", Logout::All)
        .await;
    assert!(matches!(result, Err(Error::Deactivated)));
    let result = accounts
        .profile_set(user, "displayname", Some(&"A".into()))
        .await;
    assert!(matches!(result, Err(Error::NoSuchUser)));
    // Once more changes nothing; erasure can still be asked for.
    let commits = fixture.store.commits();
    accounts.deactivate(user, Erase::No).await.unwrap();
    assert_eq!(fixture.store.commits(), commits);
    accounts.deactivate(user, Erase::Yes).await.unwrap();
    assert_eq!(fixture.store.commits(), commits + 1);
    let nobody = accounts
        .deactivate(&user_id("@nobody:h.test"), Erase::No)
        .await;
    assert!(matches!(nobody, Err(Error::NoSuchUser)));
}

#[tokio::test]
async fn suspended_users_keep_their_profile_as_it_is() {
    let holder = holder(State::Suspended).await;
    let user = &holder.session.user_id;
    let result = holder
        .fixture
        .accounts
        .profile_set(user, "displayname", Some(&"A".into()))
        .await;
    assert!(matches!(result, Err(Error::Suspended)));
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    let fixture = Fixture::open();
    for name in ["a", "b", "b-", "c"] {
        fixture.user(name).await;
    }
    let list = async |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(user_id);
        let users = fixture
            .accounts
            .user_list(after.as_deref(), limit)
            .await
            .unwrap();
        users
            .into_iter()
            .map(|user| user.user_id.localpart().to_owned())
            .collect()
    };
    assert_eq!(list(None, 2).await, ["a", "b-"]);
    assert_eq!(list(Some("@b-:h.test"), 10).await, ["b", "c"]);
    assert!(list(Some("@c:h.test"), 10).await.is_empty());
}
