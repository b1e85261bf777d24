use std::time::Duration;

use hearth_media::{Error, Quarantine, Reach};

use crate::house::{AT_ONCE, House, anna, bob, noise};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn what_is_in_quarantine_is_neither_served_nor_taken_again() {
    let house = House::new();
    let content = noise(1_000);
    let bad = house.upload(&content).await.expect("uploaded");
    let copy = house
        .upload_as(bob(), "image/png", &content)
        .await
        .expect("uploaded");
    house
        .media
        .quarantine(&bad, Quarantine::Set)
        .await
        .expect("set");
    for uri in [&bad, &copy] {
        let gone = house
            .media
            .download(uri, Reach::Anywhere, AT_ONCE)
            .await
            .map(drop);
        assert!(matches!(gone, Err(Error::NotFound)), "{gone:?}");
    }
    let again = house.upload(&content).await;
    assert!(matches!(again, Err(Error::Unwelcome)), "{again:?}");
    // Also when nobody has it any more.
    house.media.delete(&bad).await.expect("removed");
    house.media.delete(&copy).await.expect("removed");
    house.media.sweep().await.expect("swept");
    let again = house.upload(&content).await;
    assert!(matches!(again, Err(Error::Unwelcome)), "{again:?}");
    house.check().await;
}

#[tokio::test]
async fn a_quarantine_can_be_lifted() {
    let house = House::new();
    let uri = house.upload(b"fine after all").await.expect("uploaded");
    house
        .media
        .quarantine(&uri, Quarantine::Set)
        .await
        .expect("set");
    house
        .media
        .quarantine(&uri, Quarantine::Lift)
        .await
        .expect("lifted");
    assert_eq!(house.content(&uri).await.expect("there"), b"fine after all");
}

#[tokio::test]
async fn old_files_go_unless_they_were_asked_for() {
    let house = House::with(|settings| settings.local_keep = Some(10 * DAY));
    let asked = house.upload(b"asked for").await.expect("uploaded");
    let forgotten = house.upload(b"forgotten").await.expect("uploaded");
    house.clock.advance(6 * DAY);
    house.content(&asked).await.expect("there");
    house.clock.advance(6 * DAY);
    assert_eq!(house.media.sweep().await.expect("swept").local, 1);
    house.content(&asked).await.expect("there");
    let gone = house.content(&forgotten).await;
    assert!(matches!(gone, Err(Error::NotFound)), "{gone:?}");
    house.check().await;
}

#[tokio::test]
async fn files_are_listed_by_name_and_by_user() {
    let house = House::new();
    for number in 0..5 {
        house.upload(&noise(number)).await.expect("uploaded");
    }
    house
        .upload_as(bob(), "image/png", b"his")
        .await
        .expect("uploaded");
    let first = house.media.list(None, 4).await.expect("listed");
    let rest = house
        .media
        .list(Some(&first[3].uri), 4)
        .await
        .expect("listed");
    assert_eq!((first.len(), rest.len()), (4, 2));
    let his = house
        .media
        .list_of_user(bob(), None, 4)
        .await
        .expect("listed");
    assert_eq!(his.len(), 1);
    assert_eq!(his[0].bytes, Some(3));
    let hers = house
        .media
        .list_of_user(anna(), None, 9)
        .await
        .expect("listed");
    assert_eq!(hers.len(), 5);
    assert_eq!(
        house.media.info(&his[0].uri).await.expect("read"),
        Some(his[0].clone())
    );
}
