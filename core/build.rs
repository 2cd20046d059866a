//! Gives the classes and methods of the extension module the docstrings of its stub,
//! `python/cnidaria_core/_core.pyi`: `docs!(Class)` and `docs!(Class method)`.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const STUB: &str = "python/cnidaria_core/_core.pyi";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PYTHON").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed={STUB}");
    let stub = fs::read_to_string(STUB).expect("the stub is there");
    let folder = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("docs.rs"), rules(&stub)).expect("it can be written");
}

/// A macro with one rule for each docstring. How objects are made is told with their class.
fn rules(stub: &str) -> String {
    let mut classes: Vec<(String, String)> = Vec::new();
    let mut rules = String::from("macro_rules! docs {\n");
    let (mut class, mut name) = ("", "");
    let mut lines = stub.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("class ") {
            (class, name) = (word(rest), "");
        } else if let Some(rest) = line.strip_prefix("    def ") {
            name = word(rest);
        } else if let Some(rest) = line.trim_start().strip_prefix("\"\"\"") {
            let text = docstring(rest, &mut lines);
            match name {
                "" if classes.last().is_some_and(|(known, _)| known == class) => {} // a constant's
                "" => classes.push((class.to_owned(), text)),
                "__new__" => {
                    let (_, made) = classes.last_mut().expect("a class is documented first");
                    write!(made, "\n\n{text}").expect("to memory");
                }
                _ => writeln!(rules, "({class} {name}) => {{ {text:?} }};").expect("to memory"),
            }
        }
    }
    for (class, text) in classes {
        writeln!(rules, "({class}) => {{ {text:?} }};").expect("to memory");
    }
    rules + "}\n"
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The text until the closing quotes, without the indentation of its later lines.
fn docstring<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    if let Some(text) = first.strip_suffix("\"\"\"") {
        return text.to_owned();
    }
    let rest: Vec<_> = lines.take_while(|line| line.trim() != "\"\"\"").collect();
    let indents = rest.iter().filter(|line| !line.trim().is_empty());
    let indent = indents.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let mut text = first.to_owned();
    for line in rest {
        text += "\n";
        text += line.get(indent..).unwrap_or("");
    }
    text
}
