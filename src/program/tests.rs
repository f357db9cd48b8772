use super::*;

fn sh(script: &str, limit: Duration) -> Result<Vec<u8>> {
    let args = vec!["-c".into(), script.into()];
    run(
        "sh",
        Path::new("/bin/sh"),
        args,
        &As::default(),
        "trying it",
        limit,
    )
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_it_prints_comes_back_and_the_locale_is_plain() {
    let out = sh("printf '%s %s' \"$LC_ALL\" \"$PATH\"", LONG).unwrap();
    assert_eq!(out, format!("C {PATH}").into_bytes());
}

#[test]
fn failures_say_how_it_ended_and_what_it_said_last() {
    let error = sh("echo first >&2; echo last >&2; exit 3", LONG).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trying it: sh ended with status 3: first\nlast"
    );
    let error = sh("kill -9 $$", LONG).unwrap_err();
    assert_eq!(error.to_string(), "trying it: sh ended with signal 9");
}

#[test]
fn only_the_end_of_stderr_is_kept() {
    let error = sh("yes talk | head -c 1000000 >&2; echo why >&2; exit 1", LONG).unwrap_err();
    let Error::Tool { stderr, .. } = error else {
        panic!("{error}");
    };
    assert!(
        stderr.len() <= TAIL_BYTES && stderr.ends_with("why"),
        "{stderr}"
    );
}

#[test]
fn what_takes_too_long_is_killed_with_its_children() {
    let begun = Instant::now();
    let error = sh("sleep 60 & sleep 60", Duration::from_millis(50)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(
        error.to_string(),
        "trying it: sh ended with signal 9: it took longer than 0 s"
    );
}
