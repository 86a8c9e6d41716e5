//! The tutorial of `docs/tutorial`, done as it is written: commands are run and what they print is compared, changes are
//! applied. `BYOC_BLESS=1` writes what commands print into the pages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use byoc_tests::{byoc, root, run_command};

/// A piece of a page.
enum Block {
    Text(String),
    /// A change of files, as `git diff` writes it.
    Diff(String),
    /// Commands, each with what it prints.
    Console(Vec<(String, String)>),
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let kind = line.strip_prefix("```");
        let Some(kind @ ("console" | "diff")) = kind else {
            blocks.push(Block::Text(format!("{line}\n")));
            continue;
        };
        let body: String = lines.by_ref().take_while(|l| *l != "```").map(|l| format!("{l}\n")).collect();
        blocks.push(if kind == "diff" { Block::Diff(body) } else { Block::Console(commands(&body)) });
    }
    blocks
}

/// Commands begin with `$ `; one with a document in it goes on to the document's end.
fn commands(body: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut in_document = false;
    for line in body.lines() {
        if let Some((command, _)) = commands.last_mut().filter(|_| in_document) {
            *command += &format!("\n{line}");
            in_document = line != "END";
        } else if let Some(command) = line.strip_prefix("$ ") {
            in_document = command.ends_with("<<'END'");
            commands.push((command.to_owned(), String::new()));
        } else if let Some((_, printed)) = commands.last_mut() {
            *printed += &format!("{line}\n");
        }
    }
    commands
}

fn written(blocks: &[Block]) -> String {
    let block = |block: &Block| match block {
        Block::Text(text) => text.clone(),
        Block::Diff(diff) => format!("```diff\n{diff}```\n"),
        Block::Console(commands) => {
            let all = commands.iter().map(|(command, printed)| format!("$ {command}\n{printed}"));
            format!("```console\n{}```\n", all.collect::<String>())
        }
    };
    blocks.iter().map(block).collect()
}

/// Times, figures of the machine and folders are as they are.
fn normalised(text: &str, folder: &Path) -> Vec<String> {
    let rules = [
        (r"\d+(\.\d+)? (s|ms|µs|us)\b", "# s"),
        (r"^pass  file/needs: .*", "pass  file/needs: #"),
        (r" +$", ""),
    ];
    let rules = rules.map(|(pattern, to)| (regex::Regex::new(pattern).expect("a pattern"), to));
    let line = |line: &str| {
        let line = line.replace(&folder.display().to_string(), "");
        rules.iter().fold(line, |line, (pattern, to)| pattern.replace_all(&line, *to).into_owned())
    };
    text.lines().map(line).collect()
}

/// Whether lines are those expected, where `…` stands for any number.
fn matches(expected: &[String], got: &[String]) -> bool {
    match expected {
        [] => got.is_empty(),
        [any, rest @ ..] if any == "…" => (0..=got.len()).any(|skipped| matches(rest, &got[skipped..])),
        [first, rest @ ..] => got.first() == Some(first) && matches(rest, &got[1..]),
    }
}

/// A shell that keeps its folder from command to command.
struct Shell {
    home: tempfile::TempDir,
    folder: PathBuf,
    has_cmake: bool,
}

impl Shell {
    fn new() -> Shell {
        let home = tempfile::tempdir().expect("a temporary folder");
        let has_cmake = Command::new("cmake").arg("--version").output().is_ok();
        Shell { folder: home.path().to_owned(), home, has_cmake }
    }

    /// What a command prints, errors and all.
    fn run(&mut self, command: &str) -> String {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder.push(folder);
            return String::new();
        }
        if command.starts_with("cargo ") {
            // The same versions as here, so that nothing has to be fetched.
            std::fs::copy(root().join("Cargo.lock"), self.folder.join("Cargo.lock")).expect("copied");
        }
        let command = match command {
            // What CMake would call.
            "cmake -B build" if !self.has_cmake => "mkdir -p build",
            "cmake --build build" if !self.has_cmake => {
                "c++ -std=c++17 -O2 -Wall -Wextra -Iinclude -shared -fPIC -fvisibility=hidden -fno-gnu-unique \
                 -Wl,--version-script=exports.map src/plugin.cpp -o build/libkoala.so"
            }
            other => other,
        };
        let bin = byoc().parent().expect("it lies in a folder").display().to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(&self.folder);
        shell.env("PATH", path).env("CARGO_NET_OFFLINE", "true").env("XDG_CACHE_HOME", self.home.path());
        shell.env("XDG_CONFIG_HOME", self.home.path());
        shell.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        run_command(&mut shell, Duration::from_secs(300)).stdout
    }

    fn apply(&self, diff: &str) {
        let path = self.home.path().join("change.diff");
        std::fs::write(&path, diff).expect("written");
        let done = run_command(
            Command::new("patch").args(["-p1", "-i"]).arg(&path).current_dir(&self.folder),
            Duration::from_secs(10),
        );
        done.expect(0);
    }
}

/// Lines between the ends of a long answer are left out when it is written, too, where they were.
fn blessed(expected: &str, got: &str) -> String {
    if expected.lines().any(|line| line == "…") { expected.to_owned() } else { got.to_owned() }
}

/// Does what a page says; how long that took, and how much of it commands other than builds.
fn follow(name: &str) -> (Duration, Duration) {
    let path = root().join("docs/tutorial").join(name);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let mut blocks = blocks(&page);
    let mut shell = Shell::new();
    let (start, mut building) = (Instant::now(), Duration::ZERO);
    let bless = std::env::var_os("BYOC_BLESS").is_some();
    let mut commands = 0;
    for block in &mut blocks {
        match block {
            Block::Text(_) => {}
            Block::Diff(diff) => shell.apply(diff),
            Block::Console(console) => {
                for (command, expected) in console {
                    let begun = Instant::now();
                    let got = shell.run(command);
                    let is_build = ["cargo", "make", "cmake"].iter().any(|tool| command.starts_with(tool));
                    building += if is_build { begun.elapsed() } else { Duration::ZERO };
                    commands += 1;
                    let home = shell.home.path();
                    let is_same = matches(&normalised(expected, home), &normalised(&got, home));
                    if bless && !is_same {
                        *expected = blessed(expected, &got);
                        continue;
                    }
                    assert!(is_same, "{name}: {command}\nis said to print\n{expected}\nand prints\n{got}");
                }
            }
        }
    }
    assert!(commands > 8, "{name} has {commands} commands");
    if bless {
        std::fs::write(path, written(&blocks)).expect("written");
    }
    (start.elapsed(), start.elapsed() - building)
}

#[test]
fn the_chapters_are_what_happens() {
    for name in ["rust.md", "c.md", "cpp.md"] {
        let (all, own) = follow(name);
        println!("{name}: {:.1} s, {:.1} s of it not compiling", all.as_secs_f64(), own.as_secs_f64());
    }
}

#[test]
fn a_page_is_written_as_it_was_read() {
    for name in ["rust.md", "c.md", "cpp.md"] {
        let page = std::fs::read_to_string(root().join("docs/tutorial").join(name)).expect("there");
        assert_eq!(written(&blocks(&page)), page, "{name}");
    }
}

#[test]
fn what_is_left_out_may_be_anything() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, got, same) in [
        ("a\n…\nc", "a\nb\nb\nc", true),
        ("a\n…\nc", "a\nc", true),
        ("a\n…", "a", true),
        ("a\n…\nc", "a\nb", false),
        ("a", "a\nb", false),
        ("…\na", "b\na", true),
    ] {
        assert_eq!(matches(&lines(expected), &lines(got)), same, "{expected:?} {got:?}");
    }
}
