//! What must hold of any bytes: the body of the fuzz targets, run on random and on kept inputs by ordinary tests, too.

// Each test and fuzz target uses some of them.
#![allow(dead_code)]

use bgp::packet::{Context, Families, HEADER_LEN, Notification, Open, RouteRefresh, Stream, Update};

/// All ways in which an UPDATE may have to be read.
pub(crate) fn contexts() -> impl Iterator<Item = Context> {
    (0..16_u8).map(|bits| Context {
        four_octet_as: bits & 1 != 0,
        internal: bits & 2 != 0,
        families: if bits & 4 != 0 { Families::BOTH } else { Families::V4 },
        extended_next_hop: bits & 8 != 0,
    })
}

/// What is read as an OPEN is written and read as the same one; what is not leads to a NOTIFICATION.
pub(crate) fn open(body: &[u8]) {
    match Open::parse(body) {
        Ok(open) => {
            let message = open.build();
            // An OPEN of more than 4,096 bytes is no message: it is cut when it is written.
            if body.len() + HEADER_LEN <= 4_000 {
                assert_eq!(Open::parse(&message[HEADER_LEN..]).as_ref(), Ok(&open));
            }
        }
        Err(error) => well_formed(&error.notification(), &error.to_string()),
    }
}

/// What is read as an UPDATE, with whatever faults, is written and read as the same one without any; what is not leads
/// to a NOTIFICATION.
pub(crate) fn update(body: &[u8]) {
    for context in contexts() {
        match Update::parse(body, context) {
            Ok(received) => {
                for fault in &received.faults {
                    well_formed(&fault.notification(), &fault.to_string());
                }
                let mut update = received.update;
                let message = update.build(context.four_octet_as);
                let again = Update::parse(&message[HEADER_LEN..], context).expect("written by us");
                if update.attributes.mp_reach.is_none() && update.announced.is_empty() {
                    // Of withdrawals, attributes say nothing; those alone are kept that can be read.
                    assert_eq!(again.update, update, "{:?}", again.faults);
                } else if received.faults.is_empty() {
                    assert_eq!(again.faults, []);
                    assert_eq!(again.update, update);
                }
                update.attributes.unknown.clear();
                let _ = update.ends_rib_of();
            }
            Err(error) => well_formed(&error.notification(), &error.to_string()),
        }
    }
}

/// Every NOTIFICATION that is long enough is read, can be put in words, and is written as it was.
pub(crate) fn notification(body: &[u8]) {
    let Some(notification) = Notification::parse(body) else {
        assert!(body.len() < 2);
        return;
    };
    well_formed(&notification, &notification.to_string());
    if body.len() + HEADER_LEN <= 4_096 {
        assert_eq!(&notification.build()[HEADER_LEN..], body);
    }
    let hard = notification.clone().into_hard_reset();
    if body.len() + HEADER_LEN <= 4_000 {
        assert_eq!(hard.inner(), notification);
    }
}

/// Every ROUTE-REFRESH of the right length is read and written as it was.
pub(crate) fn refresh(body: &[u8]) {
    match RouteRefresh::parse(body) {
        Ok(refresh) => assert_eq!(&refresh.build()[HEADER_LEN..], body),
        Err(error) => well_formed(&error.notification(), &error.to_string()),
    }
}

/// Messages are the same however the bytes of a connection are cut; the first byte says how.
pub(crate) fn stream(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let read = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let (mut stream, mut frames) = (Stream::new(), Vec::new());
        for part in parts {
            stream.push(part);
            loop {
                match stream.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        well_formed(&error.notification(), &error.to_string());
                        return (frames, Some(error));
                    }
                }
            }
        }
        (frames, None)
    };
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(usize::from(size).max(1))), whole);
}

fn well_formed(notification: &Notification, words: &str) {
    let message = notification.build();
    assert!(message.len() <= 4_096);
    let parsed = Notification::parse(&message[HEADER_LEN..]).expect("written by us");
    assert_eq!(parsed.error, notification.error);
    assert!(!words.is_empty() && !words.contains(['\n', '\u{1b}']));
}
