//! Commands of a page of the documentation, pasted into a shell on a served demo.

use std::process::Command;

use super::{Home, Ran, Server};

/// The commands of a section, each block with what the text block behind it says is printed.
pub fn blocks(page: &str, heading: &str) -> Vec<(String, Option<String>)> {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once(heading).expect("the section");
    let section = section.split("\n##").next().unwrap();
    let mut blocks: Vec<(String, Option<String>)> = Vec::new();
    for (number, part) in section.split("```").enumerate() {
        let (language, text) = part.split_once('\n').unwrap_or_default();
        match language {
            _ if number % 2 == 0 => {}
            "sh" => blocks.push((text.to_owned(), None)),
            "text" => blocks.last_mut().expect("commands").1 = Some(text.to_owned()),
            other => panic!("a block of {other}"),
        }
    }
    blocks
}

/// Pastes commands as a reader does; the shell ends at the first one that fails.
pub fn pasted(home: &Home, server: &Server, commands: &str) -> Ran {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ambit"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let ran = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(home.path())
        .env("PATH", path)
        .env("AMBIT_SERVER", &server.url)
        .output()
        .unwrap();
    super::program::finished(ran)
}
