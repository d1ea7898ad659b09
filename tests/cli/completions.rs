//! `completions SHELL`

use expect_test::expect;

use crate::scene::Scene;

#[test]
fn every_shell_gets_a_script_that_names_the_subcommands() {
    let scene = Scene::without_server();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = scene.run_raw(&["completions", shell]).ok();
        assert!(run.text().contains("snapshots"), "{shell}");
    }
}

#[test]
fn an_unknown_shell_is_bad_usage() {
    let scene = Scene::without_server();
    scene.shows(
        "completions tcsh",
        expect![[r#"
            exit code 2
            stderr:
            error: invalid value 'tcsh' for '<SHELL>'
              [possible values: bash, elvish, fish, powershell, zsh]

              tip: a similar value exists: 'zsh'

            For more information, try '--help'.
        "#]],
    );
}
