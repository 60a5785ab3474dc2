//! The examples are read by the types, and PROTOCOL.md names what the types name, no more and no
//! less.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use broletto_protocol::client::ClientMessage;
use broletto_protocol::parse::client_frame;
use broletto_protocol::rest::{ApiError, CreateRoom, CreatedRoom, Room};
use broletto_protocol::server::{ClosedReason, ErrorCode, MediaState, ServerMessage};
use broletto_protocol::{Codec, Kind, Lobby, MediaKind, Quality, Reaction, Role, ServerFrame, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Objects that have a section of their own; tables do not repeat their fields.
const OBJECTS: [&str; 4] = ["participant", "participants[]", "publishing", "room"];

#[test]
fn each_client_example_is_read_and_written_back_equal() {
    for (name, text) in examples("client") {
        let frame = client_frame(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(to_value(&frame), parse(&text), "{name}");
        assert_eq!(parse(&text)["type"], json!(message_of(&name)), "{name}");
    }
}

#[test]
fn each_server_example_is_read_and_written_back_equal() {
    for (name, text) in examples("server") {
        assert_eq!(to_value(&read::<ServerFrame>(&name, &text)), parse(&text), "{name}");
        assert_eq!(parse(&text)["type"], json!(message_of(&name)), "{name}");
    }
}

#[test]
fn each_rest_example_is_read_and_written_back_equal() {
    for (name, text) in examples("rest") {
        let back = match name.as_str() {
            "create_room" => to_value(&read::<CreateRoom>(&name, &text)),
            "created_room" => to_value(&read::<CreatedRoom>(&name, &text)),
            "room" => to_value(&read::<Room>(&name, &text)),
            "api_error" => to_value(&read::<ApiError>(&name, &text)),
            other => panic!("{other}.json is the body of nothing"),
        };
        assert_eq!(back, parse(&text), "{name}");
    }
}

#[test]
fn each_message_has_an_example() {
    let names = |side| -> BTreeSet<String> {
        examples(side).keys().map(|name| message_of(name).to_owned()).collect()
    };
    assert_eq!(names("client"), words::<ClientMessage>(json!({ "type": "?" })));
    assert_eq!(names("server"), words::<ServerMessage>(json!({ "type": "?" })));
}

/// Serde's complaint about an unknown field lists the known ones, left-out ones included.
#[test]
fn the_client_examples_hold_every_field() {
    for message in words::<ClientMessage>(json!({ "type": "?" })) {
        let known = words::<ClientMessage>(json!({ "type": message, "?": 1 }));
        let shown: BTreeSet<_> = paths(&message, "client")
            .iter()
            .map(|path| path.split(['.', '[']).next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(shown, known, "{message}");
    }
}

#[test]
fn the_document_describes_each_message_with_its_fields() {
    let sections = sections();
    for side in ["client", "server", "rest"] {
        let messages: BTreeSet<_> = examples(side).keys().map(|name| message_of(name).to_owned()).collect();
        for message in messages {
            let section = sections.get(&format!("`{message}`"));
            let section = section.unwrap_or_else(|| panic!("PROTOCOL.md has no section `{message}`"));
            assert_eq!(first_cells(section), paths(&message, side), "the table of `{message}`");
        }
    }
    let everything: BTreeSet<_> = ["client", "server", "rest"].into_iter().flat_map(examples).collect();
    for title in sections.keys().filter_map(|title| title.strip_prefix('`')) {
        let title = title.trim_end_matches('`');
        let known = everything.iter().any(|(name, _)| message_of(name) == title);
        assert!(known, "PROTOCOL.md describes `{title}`, which is no message");
    }
    let joined = parse(&examples("server")["joined"]);
    for (title, example) in [
        ("Participant", &joined["participants"][0]),
        ("Publishing", &joined["participants"][0]["publishing"]),
        ("Room", &joined["room"]),
    ] {
        let fields: BTreeSet<_> = example.as_object().expect("an object").keys().map(String::clone).collect();
        assert_eq!(first_cells(&sections[title]), fields, "the table of {title}");
    }
}

#[test]
fn the_document_shows_the_examples_as_they_are() {
    let document = document();
    let shown: Vec<&str> = document
        .split("```json\n")
        .skip(1)
        .map(|block| block.split_once("\n```").expect("the block ends").0)
        .collect();
    let mut count = 0;
    for side in ["client", "server", "rest"] {
        for (name, text) in examples(side) {
            assert!(shown.contains(&text.trim_end()), "PROTOCOL.md does not show {side}/{name}.json");
            count += 1;
        }
    }
    assert_eq!(shown.len(), count, "PROTOCOL.md shows an example that is no file");
}

#[test]
fn the_document_lists_every_word() {
    let sections = sections();
    assert_eq!(first_cells(&sections["Error codes"]), words::<ErrorCode>(json!("?")));
    assert_eq!(first_cells(&sections["Reasons of `closed`"]), words::<ClosedReason>(json!("?")));
    let listed: BTreeSet<_> = backticked(&sections["Words"]).collect();
    let known = [
        words::<Source>(json!("?")),
        words::<MediaKind>(json!("?")),
        words::<Codec>(json!("?")),
        words::<Role>(json!("?")),
        words::<Kind>(json!("?")),
        words::<MediaState>(json!("?")),
        words::<Quality>(json!("?")),
        words::<Reaction>(json!("?")),
        words::<Lobby>(json!("?")),
    ];
    assert_eq!(listed, known.into_iter().flatten().collect());
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../PROTOCOL.md");
    fs::read_to_string(path).expect("PROTOCOL.md stands at the top level")
}

/// The text under each heading of the fourth level.
fn sections() -> BTreeMap<String, String> {
    let document = document();
    let (client, _) = document.split_once("\n# The control protocol").expect("the second chapter");
    let parts = client.split("\n#### ").skip(1);
    parts
        .map(|part| {
            let (title, text) = part.split_once('\n').expect("a heading ends its line");
            let end = ["\n## ", "\n### "].iter().filter_map(|heading| text.find(heading)).min();
            let end = end.unwrap_or(text.len());
            (title.to_owned(), text[..end].to_owned())
        })
        .collect()
}

/// What stands in backticks in the first column of the section's tables.
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap_or_default().to_owned()).collect()
}

fn backticked(section: &str) -> impl Iterator<Item = String> {
    section.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn examples(side: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(side);
    let files = fs::read_dir(folder).expect("the folder of examples");
    let files = files.map(|file| file.expect("a readable folder").path());
    files
        .map(|path| {
            let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a readable example"))
        })
        .collect()
}

/// `join-token.json` is another example of `join`.
fn message_of(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Paths of all fields in the examples of a message.
fn paths(message: &str, side: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (_, text) in examples(side).iter().filter(|(name, _)| message_of(name) == message) {
        let Value::Object(mut object) = parse(text) else { panic!("{message}: an example is an object") };
        if side != "rest" {
            object.retain(|key, _| !matches!(key.as_str(), "id" | "type" | "reply_to"));
        }
        walk("", &Value::Object(object), &mut paths);
    }
    paths
}

fn walk(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        _ if OBJECTS.contains(&path) => {
            paths.insert(path.to_owned());
        }
        Value::Object(object) => {
            if path.ends_with("shows") {
                paths.insert(path.to_owned());
            }
            for (key, value) in object {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&inner, value, paths);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                walk(&format!("{path}[]"), element, paths);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            paths.insert(path.to_owned());
        }
    }
}

/// The names that serde lists when it meets one that it does not know.
fn words<T: DeserializeOwned>(unknown: Value) -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(unknown).err().expect("`?` is not known").to_string();
    let (_, listed) = error.split_once(", ").unwrap_or((&error, ""));
    backticked(listed).collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("an example is JSON")
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("messages serialise")
}

fn read<T: DeserializeOwned>(name: &str, text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}
