//! Builds the web client and lists its files in `OUT_DIR/assets.rs`, so that the program carries
//! them.
//!
//! `BROLETTO_SKIP_WEB=1` leaves the web client out, for checks that do not look at it.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// Oldest major version of Node.js that the web client's tools run on.
/// What the web client is built from, in its folder.
const SOURCES: [&str; 9] = [
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
    "vite.config.js",
];
/// Compressed text may be served instead; pictures and fonts are compressed already.
const COMPRESSED: [&str; 8] = ["html", "js", "css", "json", "svg", "wasm", "webmanifest", "txt"];

/// Gzips each file named on the command line beside itself.
const GZIP_SCRIPT: &str = "const fs = require('node:fs'), zlib = require('node:zlib');
for (const file of process.argv.slice(1))
  fs.writeFileSync(`${file}.gz`, zlib.gzipSync(fs.readFileSync(file), { level: 9 }));";

fn main() {
    println!("cargo::rerun-if-env-changed=BROLETTO_SKIP_WEB");
    println!("cargo::rerun-if-changed=migrations");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let web_client =
        Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web-client");
    for source in SOURCES.map(|source| web_client.join(source)).iter().filter(|source| source.exists()) {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let dist = out.join("web");
    // Files of an earlier build would be carried along.
    let _ = fs::remove_dir_all(&dist);
    fs::create_dir_all(&dist).expect("OUT_DIR can be written");
    if env::var("BROLETTO_SKIP_WEB").is_ok_and(|value| value == "1") {
        let page = "<!doctype html><html lang=en><title>Broletto</title>\
                    <p>This program was built without the web client (BROLETTO_SKIP_WEB=1).\n";
        fs::write(dist.join("index.html"), page).expect("OUT_DIR can be written");
    } else {
        build(&web_client, &dist);
    }
    fs::write(out.join("assets.rs"), listing(&dist)).expect("OUT_DIR can be written");
}

/// Ends the build with a sentence that says what to do.
fn fail(sentence: &str) -> ! {
    println!("cargo::error={sentence}");
    exit(1)
}

fn build(web_client: &Path, dist: &Path) {
    check_node();
    let lock = fs::read_to_string(web_client.join("package-lock.json"))
        .unwrap_or_else(|error| fail(&format!("web-client/package-lock.json cannot be read: {error}")));
    let stamp = web_client.join("node_modules/.broletto-lock");
    let installed = format!("{:016x}", hash(lock.as_bytes()));
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&installed) {
        run(web_client, "npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        fs::write(&stamp, installed).expect("npm made node_modules");
    }
    let dist = dist.to_str().expect("OUT_DIR is UTF-8");
    run(web_client, "npm", &["run", "build", "--", "--outDir", dist, "--emptyOutDir"]);
}

fn check_node() {
    let wanted = "The web client needs Node.js 20.19, 22.12 or newer with npm";
    let Ok(output) = Command::new("node").arg("--version").output() else {
        fail(&format!("{wanted}, and `node` was not found: install it, then build again."));
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse::<u32>().ok());
    let is_enough = match (numbers.next().flatten(), numbers.next().flatten()) {
        // The releases that the bundler supports.
        (Some(20), Some(minor)) => minor >= 19,
        (Some(22), Some(minor)) => minor >= 12,
        (Some(major), Some(_)) => major > 22,
        _ => false,
    };
    if !is_enough {
        fail(&format!("{wanted}, and `node` is {version}: install a newer one, then build again."));
    }
    if Command::new("npm").arg("--version").output().is_err() {
        fail(&format!("{wanted}, and `npm` was not found: install it, then build again."));
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| fail(&format!("`{program}` cannot be run: {error}")));
    if !output.status.success() {
        for stream in [&output.stdout, &output.stderr] {
            for line in String::from_utf8_lossy(stream).lines() {
                println!("cargo::warning={line}");
            }
        }
        fail(&format!("`{program} {}` failed in web-client; what it said is above.", arguments.join(" ")));
    }
}

/// Rust source of `ASSETS` and `INDEX`.
fn listing(dist: &Path) -> String {
    let mut files = Vec::new();
    collect(dist, &mut files);
    compress(&files);
    let mut assets = files.iter().map(|file| asset(dist, file)).collect::<Vec<_>>();
    assets.sort();
    let Some((_, index)) = assets.iter().find(|(path, _)| path == "/index.html") else {
        fail("The web client's build made no index.html.");
    };
    let mut source = format!("static INDEX: Asset = {index};\nstatic ASSETS: &[Asset] = &[\n");
    for (_, asset) in &assets {
        writeln!(source, "    {asset},").expect("a string takes everything");
    }
    source + "];\n"
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the build's own folder") {
        let path = entry.expect("the build's own folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Node is there whenever there is something worth compressing.
fn compress(files: &[PathBuf]) {
    let texts = files.iter().filter(|file| COMPRESSED.contains(&extension(file).as_str()));
    // Without Node the files are served as they are.
    let _ = Command::new("node").args(["-e", GZIP_SCRIPT, "--"]).args(texts).status();
}

/// The path that the file is served at, and the Rust expression for it.
fn asset(dist: &Path, file: &Path) -> (String, String) {
    let relative = file.strip_prefix(dist).expect("it was found there");
    let path = format!("/{}", relative.to_str().expect("the build's names are UTF-8").replace('\\', "/"));
    let bytes = fs::read(file).expect("the build's own file");
    let gzip = PathBuf::from(format!("{}.gz", file.display()));
    let is_smaller = fs::metadata(&gzip).is_ok_and(|gzip| (gzip.len() as usize) < bytes.len());
    let gzip = if is_smaller { format!("Some(include_bytes!({gzip:?}))") } else { "None".to_owned() };
    let expression = format!(
        "Asset {{ path: {path:?}, mime: {:?}, bytes: include_bytes!({file:?}), gzip: {gzip}, \
         etag: \"\\\"{:016x}\\\"\", immutable: {} }}",
        mime(&extension(file)),
        hash(&bytes),
        path.starts_with("/assets/"),
    );
    (path, expression)
}

fn mime(extension: &str) -> &'static str {
    match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn extension(file: &Path) -> String {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
