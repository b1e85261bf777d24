use ruma::http_headers::ContentDispositionType;

use super::*;

fn cut(body: &[u8], length: usize) -> ByteStream {
    let pieces: Vec<_> = body
        .chunks(length)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

async fn all(body: ByteStream) -> Result<Vec<u8>, BoxError> {
    body.try_fold(Vec::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    })
    .await
}

async fn file(boundary: &str, body: ByteStream) -> (Option<String>, Option<String>, Vec<u8>) {
    match decode(boundary, body).await.expect("decoded") {
        Part::File {
            content_type,
            file_name,
            body,
        } => (content_type, file_name, all(body).await.expect("whole")),
        Part::Elsewhere { location } => panic!("at {location}"),
    }
}

#[tokio::test]
async fn what_is_encoded_is_decoded_however_it_is_cut() {
    let content = b"\r\n--bound\r\n--boundar-\r\n\r\n--".repeat(3);
    let disposition = ContentDisposition::new(ContentDispositionType::Attachment)
        .with_filename(Some("ä b.pdf".to_owned()));
    let part = FilePart {
        content_type: "application/pdf",
        disposition: &disposition,
    };
    let encoded = encode("boundary", part, cut(&content, 7));
    let encoded = all(encoded).await.expect("encoded");
    for length in [1, 2, 3, 7, 64, encoded.len()] {
        let (content_type, file_name, body) = file("boundary", cut(&encoded, length)).await;
        assert_eq!(content_type.as_deref(), Some("application/pdf"));
        assert_eq!(file_name.as_deref(), Some("ä b.pdf"));
        assert_eq!(body, content, "in pieces of {length}");
    }
}

#[tokio::test]
async fn a_file_may_be_elsewhere_and_empty_heads_are_fine() {
    let body = b"--b\r\n\r\n{}\r\n--b\r\nLocation: https://cdn.example.org/x\r\n\r\n\r\n--b--";
    match decode("b", cut(body, 5)).await.expect("decoded") {
        Part::Elsewhere { location } => assert_eq!(location, "https://cdn.example.org/x"),
        Part::File { .. } => panic!("a file"),
    }
    let body =
        b"preamble\r\n--b \r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--";
    assert_eq!(file("b", cut(body, 5)).await, (None, None, b"x".to_vec()));
}

#[tokio::test]
async fn s17_malformed_and_endless_answers_are_refused() {
    let long = [b"--b\r\n\r\n".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let head = [
        b"--b\r\n\r\n{}\r\n--b\r\n".as_slice(),
        &b"a: b\r\n".repeat(100),
    ]
    .concat();
    for body in [
        b"".as_slice(),
        b"--b",
        b"--b--",
        b"--b\r\n\r\n{}\r\n--b--",
        b"--b\r\n\r\n{}\r\n--bx\r\n\r\n",
        b"--b\r\nno header\r\n\r\n",
        b"--b\r\nContent-Type: text/html\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--",
        &long,
        &head,
    ] {
        assert!(decode("b", cut(body, 100)).await.is_err());
    }
    // The file begins, but does not end.
    let open = b"--b\r\n\r\n{}\r\n--b\r\n\r\nabcdefghijkl";
    match decode("b", cut(open, 4)).await.expect("decoded") {
        Part::File { body, .. } => assert!(all(body).await.is_err()),
        Part::Elsewhere { .. } => panic!("elsewhere"),
    }
}

#[test]
fn boundaries_are_read() {
    for (content_type, expected) in [
        ("multipart/mixed; boundary=abc", Some("abc")),
        ("Multipart/Mixed;charset=x; Boundary=\"a=b\"", Some("a=b")),
        ("multipart/mixed", None),
        ("multipart/mixed; boundary=", None),
        ("multipart/form-data; boundary=abc", None),
        ("image/png", None),
    ] {
        assert_eq!(boundary(content_type).ok().as_deref(), expected);
    }
}
