//! The status page in a real browser.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use forebay::{Event, Pipeline};

use crate::browser::Browser;
use crate::stage::Stage;

const COMMITTED: &str = "const cell = document.querySelector('#lanes tbody tr td'); return cell && cell.textContent";

#[test]
fn the_page_shows_a_hostile_event_as_text_updates_by_itself_and_asks_nobody_else() {
    let stage = Stage::new("page");
    let markup = "<img src=x onerror=\"window.owned=1\"></td></table><script>window.owned=1</script>{{7*7}}";
    let spoof = "safe\u{202e}gnp.exe\u{1b}[31m\u{0}\u{200b}end";
    let hostile =
        Event::builder(markup, markup, markup).msg(&(markup.to_owned() + spoof)).session(markup).build().unwrap();
    stage.pipeline.events().send_blocking(hostile).unwrap().wait().unwrap();
    stage.commit(&[&"x".repeat(5000), "\u{feff}", "javascript:alert(1)"]);
    stage.reject("bad_json", 3);
    let browser = Browser::start();
    let origin = format!("http://{}/", stage.server.address());
    browser.open(&origin);
    browser.wait("the events", "return document.querySelectorAll('#events tr').length === 4");
    assert_eq!(browser.run("return document.title"), "forebay");
    let text = browser.run("return document.querySelector('#events').textContent");
    let text = text.as_str().unwrap();
    assert!(text.contains("<img src=x onerror=\"window.owned=1\">") && text.contains("{{7*7}}"), "{text}");
    assert!(text.contains("safe\\u{202e}gnp.exe\\u{1b}[31m\\u{0}\\u{200b}end"), "{text}");
    let is_clean = "return !window.owned && document.querySelectorAll('img, iframe, td script, th script').length === 0 \
                    && document.scripts.length === 1";
    assert_eq!(browser.run(is_clean), true);
    assert_eq!(browser.run("return document.querySelector('#rejects').textContent"), "pageeventsbad_json3");
    browser.wait("it to be ready", "return document.querySelector('#verdict').textContent === 'ready'");

    // It goes on by itself: the page is not loaded again.
    assert_eq!(browser.run(COMMITTED), "4");
    browser.run("window.isTheSamePage = 7");
    stage.commit(&["one more"]);
    browser.wait("the new row", "return document.querySelector('#lanes tbody tr td').textContent === '5'");
    browser.wait("the new event", "return document.querySelector('#events tr').textContent.includes('one more')");
    assert_eq!(browser.run("return window.isTheSamePage"), 7);

    let console = browser.console();
    assert!(console.is_empty(), "{console:?}");
    let requests = browser.requests();
    assert!(requests.len() >= 4 && requests.iter().all(|url| url.starts_with(&origin)), "{requests:?}");
    assert_eq!(stage.get("/healthz").code, 200);
}

#[test]
fn the_page_says_that_nobody_answers_and_goes_on_when_somebody_does() {
    let stage = Stage::new("gone");
    let browser = Browser::start();
    browser.open(&format!("http://{}/", stage.server.address()));
    browser.wait("it to be ready", "return document.querySelector('#verdict').textContent === 'ready'");
    let address = stage.server.address();
    let Stage { server, pipeline, .. } = stage;
    server.shutdown();
    browser.wait("the loss", "return document.querySelector('#verdict').textContent.includes('no answer')");
    let view = forebay::server::View::new(pipeline.observer());
    let again = crate::client::wait_for("the port", || {
        let view = forebay::server::View::new(pipeline.observer());
        forebay::server::Server::start(&forebay::server::Settings::at(address), view).ok()
    });
    drop(view);
    browser.wait("the return", "return document.querySelector('#verdict').textContent === 'ready'");
    again.shutdown();
}

/// Contrasts of WCAG 2.2, 1.4.3: the least of all texts that can be seen.
const LEAST_CONTRAST: &str = r#"
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const light = (color) => {
  const [r, g, b] = parts(color).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if ((parts(color)[3] ?? 1) > 0) return color;
  }
  return "rgb(255, 255, 255)";
};
let least = [99, ""];
for (const element of document.querySelectorAll("body *")) {
  const texts = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!texts || !element.checkVisibility()) continue;
  const [a, b] = [light(getComputedStyle(element).color), light(back(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < least[0]) least = [contrast, element.outerHTML.slice(0, 100)];
}
return least;
"#;

/// What a screen reader and a keyboard need.
const UNUSABLE: &str = r#"
const wrong = [];
const check = (what, selector, good) => {
  for (const element of document.querySelectorAll(selector)) if (!good(element)) wrong.push(what + ": " + element.outerHTML.slice(0, 80));
};
check("language", "html", (e) => e.lang === "en");
check("scope", "th", (e) => e.scope === "col" || e.scope === "row");
check("row's name", "tbody tr", (e) => e.cells[0].tagName === "TH");
check("name", "svg, meter, [role=region]", (e) => e.getAttribute("aria-label") || document.getElementById(e.getAttribute("aria-labelledby")));
check("keyboard", ".wide", (e) => e.tabIndex === 0);
check("live", "[aria-live]", () => false);
if (document.querySelectorAll("[role=status]").length !== 1) wrong.push("one status");
if (document.querySelectorAll("h1").length !== 1) wrong.push("one h1");
return wrong;
"#;

#[test]
fn it_can_be_read_in_light_and_dark_on_a_phone_and_without_eyes_under_load() {
    let stage = Stage::new("load");
    stage.commit(&["root/123456", "admin/admin", "root/toor"]);
    stage.reject("bad_json", 2);
    let is_over = AtomicBool::new(false);
    let browser = Browser::start();
    thread::scope(|scope| {
        scope.spawn(|| send(&stage.pipeline, &is_over));
        let end = Ended(&is_over);
        browser.open(&format!("http://{}/", stage.server.address()));
        let points = "return document.querySelector('polyline')?.getAttribute('points').split(' ').length >= 5";
        browser.wait("some seconds of the course", points);
        browser.wait("the events", "return document.querySelectorAll('#events tr').length >= 20");
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            browser.size(1280, 1000);
            let least = browser.run(LEAST_CONTRAST);
            assert!(least[0].as_f64().unwrap() >= 4.5, "{scheme}: {least}");
            assert_eq!(browser.run(UNUSABLE), serde_json::json!([]));
            keep(&browser, scheme);
        }
        browser.size(360, 800);
        let width = browser.run("return document.scrollingElement.scrollWidth");
        assert!(width.as_u64().unwrap() <= 360, "{width} wide on a phone");
        keep(&browser, "phone");
        let console = browser.console();
        assert!(console.is_empty(), "{console:?}");
        drop(end);
    });
}

/// Tells the sender to end, on a failed test as well.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn send(pipeline: &Pipeline, is_over: &AtomicBool) {
    let (events, captures) = (pipeline.events(), pipeline.captures());
    let mut sent = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        let rows: Vec<_> = (0..20).map(|n| crate::stage::event(&format!("root/{}", sent * 20 + n))).collect();
        // What becomes of the rows is the business of other claims.
        drop(events.send_many_blocking(rows).unwrap());
        let packet = forebay::Capture::builder("tap-0", "packet").link_type(1).data(vec![0; 60]).build().unwrap();
        drop(captures.send_blocking(packet).unwrap());
        sent += 1;
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Keeps a picture for the README, if one is asked for.
fn keep(browser: &Browser, name: &str) {
    let Some(dir) = std::env::var_os("FOREBAY_SCREENSHOTS") else { return };
    let picture = base64::engine::general_purpose::STANDARD.decode(browser.picture()).unwrap();
    std::fs::write(std::path::Path::new(&dir).join(format!("status-{name}.png")), picture).unwrap();
}
