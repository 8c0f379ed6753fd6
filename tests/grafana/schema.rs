//! Dashboards against Grafana's published schema: the types of npm's `@grafana/schema`, checked by TypeScript's compiler.
//!
//! The package's types are what Grafana's own front end is compiled with. Enumerations whose members are strings do not
//! take plain strings, which is what JSON has, so they are widened to their values first.

use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use crate::dashboards::{DASHBOARDS, text};
use crate::files::{passes, run};
use crate::place::Place;

const PACKAGES: [&str; 2] = ["@grafana/schema@13.2.3", "typescript@5.9.3"];

/// A panel's own options are looked at more closely than the dashboard's type does; all of them may be left out.
const TYPES: &str = "
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
    : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Some<T> = T extends (infer U)[] ? Some<U>[] : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;
";

fn installed() -> Place {
    let place = Place::new();
    let mut install = Command::new("npm");
    install.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    passes(install.args(PACKAGES).current_dir(place.path(".")));
    place
}

/// Compiles a dashboard as a constant of the schema's type, and what each panel's own kind knows as one of that.
fn check(place: &Place, dashboard: &Json) -> Output {
    let raw = "./node_modules/@grafana/schema/dist/types/raw";
    let mut code = format!("import type {{ Dashboard }} from '{raw}/dashboard/x/types.gen';\n{TYPES}");
    code.push_str(&format!("export const dashboard: Plain<Dashboard> = {dashboard};\n"));
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let panels = panels.flat_map(|panel| panel["panels"].as_array().into_iter().flatten().chain([panel]));
    for panel in panels.filter(|panel| panel["type"] != "row") {
        let (id, kind) = (&panel["id"], panel["type"].as_str().unwrap_or_default());
        let types = format!("import('{raw}/composable/{kind}/panelcfg/x/types.gen')");
        code.push_str(&format!("export const o{id}: Some<Plain<{types}.Options>> = {};\n", panel["options"]));
        if let Some(custom) = panel["fieldConfig"]["defaults"].get("custom") {
            code.push_str(&format!("export const f{id}: Some<Plain<{types}.FieldConfig>> = {custom};\n"));
        }
    }
    place.write("dashboard.ts", code);
    let mut compile = Command::new("node");
    compile.arg("node_modules/typescript/bin/tsc");
    compile.args(["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]);
    run(compile.arg("dashboard.ts").current_dir(place.path(".")))
}

#[test]
fn the_dashboards_keep_to_grafanas_schema_and_a_broken_one_does_not() {
    let place = installed();
    for name in DASHBOARDS {
        let dashboard: Json = serde_json::from_str(&text(name)).unwrap();
        let output = check(&place, &dashboard);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let sound: Json = serde_json::from_str(&text(DASHBOARDS[0])).unwrap();
    for (pointer, value) in [
        ("/schemaVersion", json!("39")),
        ("/panels/1/gridPos/w", json!("wide")),
        ("/panels/1/targets", json!("none")),
        ("/panels/1/fieldConfig/defaults/thresholds/mode", json!("relative")),
        ("/panels/1/options/colorMode", json!("all")),
        ("/panels/5/fieldConfig/defaults/custom/showPoints", json!("sometimes")),
        ("/panels/5/options/tooltip/mode", json!("none at all")),
        ("/templating/list/1/type", json!("qery")),
    ] {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is there")) = value;
        let output = check(&place, &broken);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && out.contains("error TS"), "{pointer}: {out}");
    }
}
