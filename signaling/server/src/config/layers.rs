//! How the file, the environment and the flags are laid over one another.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{Config, ConfigError, FILE_NAME};

const PREFIX: &str = "BROLETTO_";
/// Variables with our prefix that are not part of the configuration.
const OTHER_VARIABLES: [&str; 2] = ["BROLETTO_CONFIG", "BROLETTO_SKIP_WEB"];

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// A file that must be there. None: `broletto.toml`, if it is there.
    pub file: Option<PathBuf>,
    /// `BROLETTO_SECTION__KEY` and its text; others are passed over.
    pub environment: Vec<(String, String)>,
    /// `section.key` and its text.
    pub flags: Vec<(String, String)>,
}

impl Layers {
    /// File < environment < flags; read, and checked.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let mut table = self.file_table()?;
        let defaults = Table::try_from(Config::default()).expect("the defaults have a TOML form");
        let environment = self.environment.iter().filter_map(|(name, text)| {
            let key = name.strip_prefix(PREFIX)?;
            let ours = !OTHER_VARIABLES.contains(&name.as_str());
            ours.then(|| (name, key.to_ascii_lowercase().replace("__", "."), text))
        });
        let flags = self.flags.iter().map(|(key, text)| (key, key.clone(), text));
        for (name, path, text) in environment.chain(flags) {
            set(&mut table, &defaults, &path, text)
                .map_err(|message| ConfigError::new(name.as_str(), message))?;
        }
        let config = from_table(table)?;
        config.check()?;
        Ok(config)
    }

    fn file_table(&self) -> Result<Table, ConfigError> {
        let path = match &self.file {
            Some(path) => path.clone(),
            None if std::path::Path::new(FILE_NAME).exists() => FILE_NAME.into(),
            None => return Ok(Table::new()),
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::new(&name, format!("cannot be read: {error}")))?;
        text.parse::<Table>().map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::new(format!("{name}, line {line}"), one_line(error.message()))
        })
    }
}

/// From what a file says to a configuration, unchecked.
pub(super) fn from_table(table: Table) -> Result<Config, ConfigError> {
    table.try_into().map_err(|error: toml::de::Error| {
        // The error's text form ends in a line that names the key.
        let text = error.to_string();
        let key = text.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
        ConfigError::new(key.unwrap_or("configuration"), one_line(error.message()))
    })
}

/// Sets the value at `path` from text, whose type follows the default at that path.
fn set(table: &mut Table, defaults: &Table, path: &str, text: &str) -> Result<(), String> {
    let unknown = || format!("there is no configuration key {path}");
    let (mut table, mut defaults, mut key) = (table, defaults, path);
    while let Some((section, rest)) = key.split_once('.') {
        defaults = defaults.get(section).and_then(Value::as_table).ok_or_else(unknown)?;
        let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        (table, key) = (inner.as_table_mut().ok_or_else(unknown)?, rest);
    }
    let value = match defaults.get(key).ok_or_else(unknown)? {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Integer(_) => {
            let number = text.trim().parse();
            Value::Integer(number.map_err(|_| format!("expected a whole number, not {text:?}"))?)
        }
        Value::Boolean(_) => {
            let flag = text.trim().parse();
            Value::Boolean(flag.map_err(|_| format!("expected true or false, not {text:?}"))?)
        }
        Value::Array(_) => array(text)?,
        Value::Table(_) | Value::Float(_) | Value::Datetime(_) => return Err(unknown()),
    };
    table.insert(key.to_owned(), value);
    Ok(())
}

/// A TOML array, or words separated by commas.
fn array(text: &str) -> Result<Value, String> {
    // IPv6 addresses start with a bracket too, so only what parses as TOML is TOML.
    if let Ok(mut table) = format!("value = {text}").parse::<Table>()
        && let Some(value @ Value::Array(_)) = table.remove("value")
    {
        return Ok(value);
    }
    if text.contains('{') {
        return Err("expected a TOML array".to_owned());
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(Value::Array(words.map(|word| Value::String(word.to_owned())).collect()))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
