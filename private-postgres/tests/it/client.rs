use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use private_postgres::Server;

/// The protocol's version 3.0.
const VERSION: u32 = 196_608;

/// Runs statements through the socket: the first column of every row, or the
/// error as the server words it.
pub fn query(server: &Server, database: &str, sql: &str) -> Result<Vec<String>, String> {
    let mut stream = UnixStream::connect(server.socket()).map_err(|error| error.to_string())?;
    stream.write_all(&startup(database)).expect("the start-up is sent");
    read_until_ready(&mut stream)?;
    let mut message = vec![b'Q'];
    message.extend(u32::try_from(sql.len() + 5).expect("short").to_be_bytes());
    message.extend(sql.as_bytes());
    message.push(0);
    stream.write_all(&message).expect("the query is sent");
    read_until_ready(&mut stream)
}

/// The first answer over TCP: which kind of authentication is wanted.
pub fn authentication_over_tcp(port: u16) -> u32 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.write_all(&startup("postgres")).expect("the start-up is sent");
    let (kind, body) = read_message(&mut stream).expect("an answer");
    assert_eq!(kind, b'R');
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

fn startup(database: &str) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for text in ["user", "postgres", "database", database, ""] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    let mut message = u32::try_from(body.len() + 4).expect("short").to_be_bytes().to_vec();
    message.extend(body);
    message
}

fn read_until_ready(stream: &mut impl Read) -> Result<Vec<String>, String> {
    let mut rows = Vec::new();
    loop {
        match read_message(stream)? {
            (b'Z', _) => return Ok(rows),
            (b'E', body) => return Err(String::from_utf8_lossy(&body).into_owned()),
            (b'D', body) => {
                let length = u32::from_be_bytes(body[2..6].try_into().expect("four bytes"));
                let value = &body[6..6 + usize::try_from(length).expect("not null")];
                rows.push(String::from_utf8_lossy(value).into_owned());
            }
            _ => {}
        }
    }
}

fn read_message(stream: &mut impl Read) -> Result<(u8, Vec<u8>), String> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(|error| error.to_string())?;
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
    let mut body = vec![0; usize::try_from(length).expect("fits") - 4];
    stream.read_exact(&mut body).map_err(|error| error.to_string())?;
    Ok((head[0], body))
}
