//! Password, deactivation, profile, account data, tags, filters, push rules, administration.

use super::*;

#[tokio::test]
async fn a_password_change_logs_out_others_by_default() {
    let api = Api::open();
    let one = &api.user("alice", "A").await;
    let two = api.ask("POST login", None, login("alice")).await.ok();
    let two = two["access_token"].as_str().unwrap();
    let change = |old: &str, new: &str, logout: bool| {
        json!({
            "new_password": new, "logout_devices": logout, "auth": auth("alice", old),
        })
    };
    let keep = change(PASSWORD, "second password", false);
    api.ask("POST account/password", Some(one), keep).await.ok();
    api.get("account/whoami", two).await.ok();
    let weak = change("second password", "x", true);
    let answer = api.ask("POST account/password", Some(one), weak).await;
    assert_eq!(answer.error(), (400, "M_WEAK_PASSWORD"));
    let drop =
        json!({ "new_password": "third password", "auth": auth("alice", "second password") });
    api.ask("POST account/password", Some(one), drop).await.ok();
    api.get("account/whoami", one).await.ok();
    assert_eq!(
        api.get("account/whoami", two).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );
    assert_eq!(
        api.ask("POST login", None, login("alice")).await.error(),
        (403, "M_FORBIDDEN")
    );
    let answer = api.ask("POST account/password", None, json!({})).await;
    assert_eq!(answer.error(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn deactivation_needs_the_password_and_is_final() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    let asked = api
        .ask("POST account/deactivate", Some(token), json!({}))
        .await;
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.password"] }])
    );
    let wrong = json!({ "auth": auth("alice", "wrong") });
    let answer = api.ask("POST account/deactivate", Some(token), wrong).await;
    assert_eq!(answer.error(), (401, "M_FORBIDDEN"));
    let right = json!({ "auth": login("alice") });
    let answer = api
        .ask("POST account/deactivate", Some(token), right)
        .await
        .ok();
    assert_eq!(answer["id_server_unbind_result"], "success");
    assert_eq!(
        api.get("devices", token).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );
    let answer = api.ask("POST login", None, login("alice")).await;
    assert_eq!(answer.error(), (403, "M_USER_DEACTIVATED"));
    let answer = api
        .ask("POST register", None, json!({ "username": "alice" }))
        .await;
    assert_eq!(answer.error(), (400, "M_USER_IN_USE"));
}

#[tokio::test]
async fn profiles_are_public_and_ones_own_to_change() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    let field = |name: &str| format!("profile/@alice:h.test/{name}");
    for (name, value) in [
        ("displayname", json!("Alice")),
        ("avatar_url", json!("mxc://h.test/a")),
        ("org.example.x", json!({ "y": [1, null] })),
    ] {
        let body = json!({ name: value });
        api.ask(&format!("PUT {}", field(name)), Some(token), body.clone())
            .await
            .ok();
        let shown = api
            .raw(&format!("GET {}", field(name)), None, vec![])
            .await
            .ok();
        assert_eq!(shown, body);
    }
    let all = api
        .raw("GET profile/@alice:h.test", None, vec![])
        .await
        .ok();
    assert_eq!(all.as_object().unwrap().len(), 3);
    let line = format!("DELETE {}", field("org.example.x"));
    api.raw(&line, Some(token), vec![]).await.ok();
    api.raw(&line, Some(token), vec![]).await.ok();
    let answer = api.get(&field("org.example.x"), token).await;
    assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_no_profile_is_refused() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    api.user("bob", "B").await;
    let field = |name: &str| format!("profile/@alice:h.test/{name}");
    let long = format!("a.{}", "b".repeat(254));
    for (line, body, status, errcode) in [
        (
            "GET profile/@nobody:h.test".to_owned(),
            json!({}),
            404,
            "M_NOT_FOUND",
        ),
        (
            "GET profile/@x:elsewhere.test".to_owned(),
            json!({}),
            404,
            "M_NOT_FOUND",
        ),
        (
            "GET profile/odd".to_owned(),
            json!({}),
            400,
            "M_INVALID_PARAM",
        ),
        (
            format!("PUT {}", field("displayname")),
            json!({}),
            400,
            "M_MISSING_PARAM",
        ),
        (
            format!("PUT {}", field("displayname")),
            json!({ "displayname": 1 }),
            400,
            "M_BAD_JSON",
        ),
        (
            format!("PUT {}", field("odd")),
            json!({ "odd": 1 }),
            400,
            "M_INVALID_PARAM",
        ),
        (
            format!("PUT {}", field("a.b")),
            json!({ "a.b": "x".repeat(65_536) }),
            400,
            "M_PROFILE_TOO_LARGE",
        ),
        (
            format!("PUT {}", field(&long)),
            json!({ &long: 1 }),
            400,
            "M_KEY_TOO_LARGE",
        ),
        (
            "PUT profile/@bob:h.test/displayname".to_owned(),
            json!({ "displayname": "x" }),
            403,
            "M_FORBIDDEN",
        ),
    ] {
        let answer = api.ask(&line, Some(token), body).await;
        assert_eq!(answer.error(), (status, errcode), "{line}");
    }
}

#[tokio::test]
async fn account_data_and_tags() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    let user = "user/@alice:h.test";
    for scope in ["account_data", "rooms/!r:h.test/account_data"] {
        let path = format!("{user}/{scope}/test.key");
        assert_eq!(api.get(&path, token).await.error(), (404, "M_NOT_FOUND"));
        let body = json!({ "value": 1.5 });
        api.ask(&format!("PUT {path}"), Some(token), body.clone())
            .await
            .ok();
        assert_eq!(api.get(&path, token).await.ok(), body);
        for kind in ["m.push_rules", "m.fully_read"] {
            let line = format!("PUT {user}/{scope}/{kind}");
            let answer = api.ask(&line, Some(token), json!({})).await;
            assert_eq!(answer.error(), (405, "M_BAD_JSON"));
        }
        let answer = api
            .raw(&format!("PUT {path}"), Some(token), b"{".to_vec())
            .await;
        assert_eq!(answer.error(), (400, "M_NOT_JSON"));
        let answer = api
            .raw(&format!("PUT {path}"), Some(token), b"[]".to_vec())
            .await;
        assert_eq!(answer.error(), (400, "M_BAD_JSON"));
        assert_eq!(api.get(&path, token).await.ok(), body);
    }
    let answer = api
        .get("user/@bob:h.test/account_data/test.key", token)
        .await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let answer = api
        .get(&format!("{user}/rooms/odd/account_data/x"), token)
        .await;
    assert_eq!(answer.error(), (400, "M_INVALID_PARAM"));

    let tags = format!("{user}/rooms/!r:h.test/tags");
    assert_eq!(api.get(&tags, token).await.ok(), json!({ "tags": {} }));
    let order = json!({ "order": 0.25, "org.example.x": 1 });
    api.ask(
        &format!("PUT {tags}/m.favourite"),
        Some(token),
        order.clone(),
    )
    .await
    .ok();
    api.ask(&format!("PUT {tags}/u.x"), Some(token), json!({}))
        .await
        .ok();
    let shown = api.get(&tags, token).await.ok();
    assert_eq!(
        shown,
        json!({ "tags": { "m.favourite": order, "u.x": {} } })
    );
    api.raw(&format!("DELETE {tags}/u.x"), Some(token), vec![])
        .await
        .ok();
    let stored = api
        .get(&format!("{user}/rooms/!r:h.test/account_data/m.tag"), token)
        .await
        .ok();
    assert_eq!(stored, json!({ "tags": { "m.favourite": order } }));
}

#[tokio::test]
async fn filters_come_back_as_they_were() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    let filter = json!({ "room": { "timeline": { "limit": 10, "org.example": true } } });
    let line = "POST user/@alice:h.test/filter";
    let id = api.ask(line, Some(token), filter.clone()).await.ok();
    let id = id["filter_id"].as_str().unwrap();
    let path = format!("user/@alice:h.test/filter/{id}");
    assert_eq!(api.get(&path, token).await.ok(), filter);
    let answer = api.get("user/@alice:h.test/filter/x", token).await;
    assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
    let bad = json!({ "room": { "timeline": { "limit": "x" } } });
    assert_eq!(
        api.ask(line, Some(token), bad).await.error(),
        (400, "M_BAD_JSON")
    );
    let answer = api
        .ask("POST user/@bob:h.test/filter", Some(token), filter)
        .await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn push_rules_are_read_and_changed() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    let all = api.get("pushrules/", token).await.ok();
    assert_eq!(
        all["global"],
        api.get("pushrules/global/", token).await.ok()
    );
    assert!(all["global"]["content"].is_array());
    let rule = "pushrules/global/content/mine";
    let body = json!({ "actions": ["notify"], "pattern": "cake" });
    api.ask(&format!("PUT {rule}"), Some(token), body)
        .await
        .ok();
    let shown = api.get(rule, token).await.ok();
    let expected = json!({
        "actions": ["notify"], "default": false, "enabled": true, "rule_id": "mine", "pattern": "cake",
    });
    assert_eq!(shown, expected);
    let actions = json!({ "actions": ["dont_notify"] });
    api.ask(&format!("PUT {rule}/actions"), Some(token), actions.clone())
        .await
        .ok();
    assert_eq!(
        api.get(&format!("{rule}/actions"), token).await.ok(),
        actions
    );
    let off = json!({ "enabled": false });
    api.ask(&format!("PUT {rule}/enabled"), Some(token), off.clone())
        .await
        .ok();
    assert_eq!(api.get(&format!("{rule}/enabled"), token).await.ok(), off);
    // Conditions are optional.
    let line = "PUT pushrules/global/override/other?after=nobody";
    let answer = api.ask(line, Some(token), json!({ "actions": [] })).await;
    assert_eq!(answer.error(), (400, "M_UNKNOWN"));
    let line = "PUT pushrules/global/override/other";
    api.ask(line, Some(token), json!({ "actions": [] }))
        .await
        .ok();
    api.raw(&format!("DELETE {rule}"), Some(token), vec![])
        .await
        .ok();
    assert_eq!(api.get(rule, token).await.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_no_push_rule_is_refused() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    for (line, body, status, errcode) in [
        (
            "PUT pushrules/global/content/x",
            json!({ "actions": [] }),
            400,
            "M_MISSING_PARAM",
        ),
        (
            "PUT pushrules/global/content/x",
            json!({ "pattern": "x" }),
            400,
            "M_BAD_JSON",
        ),
        (
            "PUT pushrules/global/room/x",
            json!({ "actions": [] }),
            400,
            "M_INVALID_PARAM",
        ),
        (
            "PUT pushrules/global/odd/x",
            json!({ "actions": [] }),
            400,
            "M_INVALID_PARAM",
        ),
        (
            "PUT pushrules/global/room/!x:y/enabled",
            json!({ "enabled": true }),
            404,
            "M_NOT_FOUND",
        ),
        (
            "PUT pushrules/global/odd/x/actions",
            json!({ "actions": [] }),
            404,
            "M_NOT_FOUND",
        ),
        (
            "GET pushrules/global/sender/x",
            json!({}),
            404,
            "M_NOT_FOUND",
        ),
        (
            "DELETE pushrules/global/room/!x:y",
            json!({}),
            404,
            "M_NOT_FOUND",
        ),
        (
            "DELETE pushrules/global/override/.m.rule.master",
            json!({}),
            400,
            "M_UNKNOWN",
        ),
    ] {
        let answer = api.ask(line, Some(token), body).await;
        assert_eq!(answer.error(), (status, errcode), "{line}");
    }
}

#[tokio::test]
async fn administrators_lock_and_suspend() {
    let api = Api::open();
    let admin = &api.administrator("root").await;
    let token = &api.user("alice", "A").await;
    let lock = "/_matrix/client/v1/admin/lock/@alice:h.test";
    let suspend = "/_matrix/client/v1/admin/suspend/@alice:h.test";
    assert_eq!(api.get(lock, token).await.error(), (403, "M_FORBIDDEN"));
    assert_eq!(api.get(lock, admin).await.ok(), json!({ "locked": false }));
    let on = json!({ "suspended": true });
    assert_eq!(
        api.ask(&format!("PUT {suspend}"), Some(admin), on.clone())
            .await
            .ok(),
        on
    );
    assert_eq!(api.get(suspend, admin).await.ok(), on);
    let line = "PUT profile/@alice:h.test/displayname";
    let answer = api
        .ask(line, Some(token), json!({ "displayname": "x" }))
        .await;
    assert_eq!(answer.error(), (403, "M_USER_SUSPENDED"));
    let on = json!({ "locked": true });
    api.ask(&format!("PUT {lock}"), Some(admin), on).await.ok();
    let answer = api.get("devices", token).await;
    assert_eq!(answer.error(), (401, "M_USER_LOCKED"));
    assert_eq!(answer.body["soft_logout"], true);
    let answer = api.ask("POST login", None, login("alice")).await;
    assert_eq!(answer.error(), (401, "M_USER_LOCKED"));
    api.raw("POST logout", Some(token), vec![]).await.ok();
    for (user, status, errcode) in [
        ("@root:h.test", 403, "M_FORBIDDEN"),
        ("@nobody:h.test", 404, "M_NOT_FOUND"),
        ("@x:elsewhere.test", 400, "M_INVALID_PARAM"),
    ] {
        let line = format!("PUT /_matrix/client/v1/admin/lock/{user}");
        let answer = api.ask(&line, Some(admin), json!({ "locked": true })).await;
        assert_eq!(answer.error(), (status, errcode), "{user}");
    }
    let whois = api.get("admin/whois/@root:h.test", admin).await.ok();
    assert_eq!(whois["devices"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn the_rest_of_the_account() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    assert_eq!(
        api.get("account/3pid", token).await.ok(),
        json!({ "threepids": [] })
    );
    let openid = api
        .ask(
            "POST user/@alice:h.test/openid/request_token",
            Some(token),
            json!({}),
        )
        .await
        .ok();
    assert_eq!(openid["matrix_server_name"], "h.test");
    assert_eq!(
        (&openid["token_type"], &openid["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let answer = api
        .ask(
            "POST user/@bob:h.test/openid/request_token",
            Some(token),
            json!({}),
        )
        .await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let wrong_method = api.raw("PATCH account/whoami", Some(token), vec![]).await;
    assert_eq!(wrong_method.error(), (405, "M_UNRECOGNIZED"));
    assert_eq!(
        super::super::capabilities()["m.change_password"]["enabled"],
        true
    );
}
