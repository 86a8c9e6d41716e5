use super::*;

const LANGUAGES: [Language; 3] = [Language::Rust, Language::C, Language::Cpp];

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

#[test]
fn nothing_of_the_template_name_is_left() {
    for language in LANGUAGES {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("deep/zeta");
        let origin = Origin::Git("https://example.org/byoc.git".into());
        let created = create(&name("zeta-chip"), language, &to, &origin).unwrap();
        for file in &created.files {
            let text = std::fs::read_to_string(to.join(file)).unwrap();
            assert!(!text.contains("acme") && !text.contains("../.."), "{}", file.display());
        }
        assert!(created.commands.iter().any(|c| c.contains("libzeta_chip.so")), "{created:?}");
        assert_eq!(
            std::fs::read_dir(folder.path().join("deep")).unwrap().count(),
            1,
            "nothing temporary is left"
        );
    }
}

#[test]
fn an_empty_folder_is_filled_and_a_full_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    create(&name("a"), Language::C, folder.path(), &Origin::Registry).unwrap();
    let before = std::fs::read_to_string(folder.path().join("src/plugin.c")).unwrap();
    let error = create(&name("b"), Language::C, folder.path(), &Origin::Registry).unwrap_err();
    assert!(error.to_string().contains("holds something already"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("src/plugin.c")).unwrap(), before);
    let file = folder.path().join("Makefile");
    assert!(create(&name("b"), Language::C, &file, &Origin::Registry).is_err());
}

#[test]
fn names_are_those_of_crates() {
    for good in ["a", "acme-npu", "Acme_2", "x86-64"] {
        assert!(good.parse::<PluginName>().is_ok(), "{good}");
    }
    for bad in
        ["", "2x", "-a", "a b", "a/b", "ä", "a\"", "self", "New", "byoc-plugin", "host", &"a".repeat(65)]
    {
        assert!(bad.parse::<PluginName>().is_err(), "{bad}");
    }
}

#[test]
fn the_dependency_is_looked_for() {
    let nowhere = tempfile::tempdir().unwrap();
    let origin = Origin::Path(nowhere.path().to_owned());
    assert!(origin.dependency().unwrap_err().to_string().contains("is no checkout of BYOC"));
    let Origin::Path(root) = Origin::find() else { panic!("tests are built in a checkout") };
    let dependency = Origin::Path(root).dependency().unwrap();
    assert!(dependency.contains("framework/plugin"), "{dependency}");
    assert_eq!(Origin::Git("a\"b".into()).dependency().unwrap(), r#"{ git = "a\"b" }"#);
}

/// What a vendor has to write, tables, tests, comments and empty lines not counted.
#[test]
fn a_template_has_at_most_150_lines_of_code() {
    for language in LANGUAGES {
        let is_code =
            |path: &str| path.starts_with("src/") && !path.contains("table") && !path.contains("tests");
        let lines = files::of(language)
            .into_iter()
            .filter(|(path, _)| is_code(path))
            .flat_map(|(_, text)| text.lines());
        let counts = |line: &&str| {
            let line = line.trim();
            !line.is_empty()
                && !["//", "/*", "* ", "#[cfg(test)]", "mod tests"].iter().any(|c| line.starts_with(c))
        };
        let count = lines.filter(counts).count();
        assert!(count <= 150, "{language:?}: {count}");
    }
}
