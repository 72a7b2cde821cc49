use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, tag, parts).unwrap();
    bytes
}

/// A server that accepts one client, sends `greeting`, and `answer` after the first query message; gives back all that
/// the client sent after its startup message.
fn serve(answer: Vec<u8>) -> (Target, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = Target { address, user: "omen".into(), database: "omen".into(), password: None };
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut startup).unwrap();
        assert!(startup.windows(10).any(|window| window == b"user\0omen\0"));
        let greeting =
            [message(b'R', &[&[0; 4]]), message(b'S', &[b"a\0b\0"]), message(b'Z', &[b"I"])].concat();
        stream.write_all(&greeting).unwrap();
        let mut seen = frame::read(&mut stream).map(|query| query.body).unwrap();
        stream.write_all(&answer).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut seen).unwrap();
        seen
    });
    (target, server)
}

fn run(answer: Vec<u8>, input: &[u8]) -> (Result<(), ClientError>, Vec<Reply>, Vec<u8>) {
    let (target, server) = serve(answer);
    let mut client = Client::connect(&target).unwrap();
    let mut replies = Vec::new();
    let ended = client.query("the query", &mut &*input, &mut |reply| {
        replies.push(reply);
        Ok(())
    });
    drop(client);
    (ended, replies, server.join().unwrap())
}

#[test]
fn rows_and_tags_come_in_order() {
    let column = [b"n\0".as_slice(), &[0; 6], &23u32.to_be_bytes(), &[0; 8]].concat();
    let answer = [
        message(b'T', &[&1u16.to_be_bytes(), &column]),
        message(b'D', &[&1u16.to_be_bytes(), &2u32.to_be_bytes(), b"42"]),
        message(b'D', &[&1u16.to_be_bytes(), &u32::MAX.to_be_bytes()]),
        message(b'C', &[b"SELECT 2\0"]),
        message(b'Z', &[b"I"]),
    ];
    let (ended, replies, seen) = run(answer.concat(), b"");
    ended.unwrap();
    let columns = vec![ResultColumn { name: "n".into(), type_oid: 23 }];
    let expected = [
        Reply::Columns(columns),
        Reply::Row(vec![Some("42".into())]),
        Reply::Row(vec![None]),
        Reply::Complete("SELECT 2".into()),
    ];
    assert_eq!(replies, expected);
    assert_eq!(seen, [b"the query\0".as_slice(), &message(b'X', &[])].concat());
}

#[test]
fn an_error_is_reported_after_the_server_is_ready_again() {
    let answer = [
        message(b'E', &[b"SERROR\0C42P01\0Mno such table\0Hmake one\0P7\0Qunknown\0\0"]),
        message(b'Z', &[b"I"]),
    ];
    let (ended, replies, _) = run(answer.concat(), b"");
    let Err(ClientError::Server(error)) = ended else { panic!("{ended:?}") };
    assert_eq!((&*error.code, error.position), ("42P01", Some(7)));
    assert_eq!(error.to_string(), "ERROR:  42P01: no such table\nHINT:  make one\nAT CHARACTER:  7");
    assert!(replies.is_empty());
}

#[test]
fn copy_data_follows_the_invitation() {
    let answer =
        [message(b'G', &[&[0, 0, 0]]), message(b'C', &[b"COPY 1\0"]), message(b'Z', &[b"I"])].concat();
    let (ended, replies, seen) = run(answer, b"1\tone\n");
    ended.unwrap();
    assert_eq!(replies, [Reply::Complete("COPY 1".into())]);
    let sent = [message(b'd', &[b"1\tone\n"]), message(b'c', &[]), message(b'X', &[])].concat();
    assert!(seen.ends_with(&sent), "{seen:?}");
}

#[test]
fn nonsense_is_an_error() {
    for answer in
        [b"HTTP/1.1 400 Bad Request\r\n".to_vec(), message(b'D', &[&9u16.to_be_bytes()]), vec![b'T', 0]]
    {
        let (ended, _, _) = run(answer, b"");
        assert!(matches!(ended, Err(ClientError::Protocol(_) | ClientError::Io(_))), "{ended:?}");
    }
}
