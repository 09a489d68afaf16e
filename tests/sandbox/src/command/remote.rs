//! `sandbox remote`: the collector double for tests that are not written in Rust.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Answer, Authority, Received, Remote};
use serde_json::{Map, Value, json};

/// Runs a remote collector that records every request
///
/// Prints one line of JSON when it listens, `{"url": "https://localhost:PORT/v1", "ca":
/// "DIR/ca.pem"}`, and answers every request as --answer says. Before each answer it appends one
/// line to DIR/requests.jsonl, `{"method", "path", "headers": {NAME: VALUE}, "body_base64"}`, so
/// whoever has the answer finds the line. Ends when its standard input closes, or on a signal; so
/// give it one that stays open, where the shell gives background jobs none.
#[derive(clap::Args)]
pub struct Arguments {
    /// Serve HTTPS, with a certificate for localhost and 127.0.0.1 of the authority in DIR/ca.pem
    #[arg(long)]
    tls: bool,

    /// Where to write requests.jsonl and ca.pem; made if it does not exist
    #[arg(long)]
    dir: PathBuf,

    /// What every request is answered: a status from 200 to 599 (200 comes with the body `{}`,
    /// others without one), or `hang` for no answer while the connection lasts
    #[arg(long, value_name = "STATUS|hang", default_value = "200", value_parser = parse_answer)]
    answer: Answer,
}

fn parse_answer(text: &str) -> Result<Answer, String> {
    match text.parse() {
        _ if text == "hang" => Ok(Answer::Hang),
        Ok(200) => Ok(Answer::ok()),
        Ok(status @ 200..=599) => Ok(Answer::status(status)),
        _ => Err("neither a status from 200 to 599 nor `hang`".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> io::Result<()> {
    fs::create_dir_all(&arguments.dir)?;
    let requests = arguments.dir.join("requests.jsonl");
    let requests = OpenOptions::new().create(true).append(true).open(requests)?;
    let (remote, authority_file) = if arguments.tls {
        let authority = Authority::new();
        let file = arguments.dir.join("ca.pem");
        fs::copy(authority.pem_file(), &file)?;
        (Remote::start_tls(&authority), Some(file))
    } else {
        (Remote::start(), None)
    };
    record(&remote, requests, arguments.answer.clone());
    println!("{}", announcement(&remote, authority_file.as_deref()));
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn record(remote: &Remote, requests: File, answer: Answer) {
    let requests = Mutex::new(requests);
    remote.answer_with(move |received| {
        let line = format!("{}\n", line(received));
        let mut requests = requests.lock().expect("a write that failed was the last");
        requests.write_all(line.as_bytes()).expect("cannot write to requests.jsonl");
        answer.clone()
    });
}

fn announcement(remote: &Remote, authority_file: Option<&Path>) -> Value {
    let mut announcement = json!({ "url": remote.base_url() });
    if let Some(file) = authority_file {
        announcement["ca"] = json!(file);
    }
    announcement
}

fn line(received: &Received) -> Value {
    let header = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    json!({
        "method": received.method,
        "path": received.path,
        "headers": received.headers.iter().map(header).collect::<Map<_, _>>(),
        "body_base64": STANDARD.encode(&received.body),
    })
}
