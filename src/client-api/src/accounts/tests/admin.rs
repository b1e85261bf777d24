//! The administrators' endpoints.

use serde_json::json;

use super::Api;

#[tokio::test]
async fn s22_the_administrators_surface_is_for_administrators_alone() {
    let api = Api::open();
    let root = api.administrator("root").await;
    let anna = api.user("anna", "PHONE").await;
    let guest = api
        .ask("POST register?kind=guest", None, json!({}))
        .await
        .ok();
    let guest = guest["access_token"].as_str().unwrap();
    let v1 = "/_matrix/client/v1/admin";
    let mut lines = vec!["GET admin/whois/@root:h.test".to_owned()];
    for subject in [
        "@root:h.test",
        "@anna:h.test",
        "@nobody:h.test",
        "@a:elsewhere",
    ] {
        for what in ["lock", "suspend"] {
            lines.push(format!("GET {v1}/{what}/{subject}"));
            lines.push(format!("PUT {v1}/{what}/{subject}"));
        }
    }
    let body = json!({ "locked": true, "suspended": true });
    for line in &lines {
        let nobody = api.ask(line, None, body.clone()).await;
        assert_eq!(nobody.error(), (401, "M_MISSING_TOKEN"), "{line}");
        let user = api.ask(line, Some(&anna), body.clone()).await;
        assert_eq!(user.error(), (403, "M_FORBIDDEN"), "{line}");
        let guest = api.ask(line, Some(guest), body.clone()).await;
        assert_eq!(guest.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"), "{line}");
    }
    // Nothing has happened to anybody.
    for subject in ["root", "anna"] {
        for what in ["lock", "suspend"] {
            let line = format!("GET {v1}/{what}/@{subject}:h.test");
            let state = api.ask(&line, Some(&root), json!({})).await.ok();
            let (_, is_set) = state.as_object().unwrap().iter().next().unwrap();
            assert_eq!(*is_set, false, "{line}");
        }
    }
}
