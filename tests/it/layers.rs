//! The folders of `src/` are layers: an import goes down, and no two files import each other. The sizes of
//! functions and files have limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemFn, ItemMod, TraitItemFn, UseTree};

/// The layers from top to bottom. A module imports from its own layer and from those below it.
const LAYERS: [&str; 12] = [
    "main",
    "lifecycle",
    "config",
    "local",
    "relay",
    "remote",
    "lambda",
    "net",
    "payload",
    "logging",
    "threads",
    "failpoint",
];

/// Limit of lines of one function, from its signature to its last brace.
const FUNCTION_LINES_MAX: usize = 40;
const FUNCTION_LINES_P90: usize = 20;
const FUNCTION_LINES_MEDIAN: usize = 6;

/// Limit of lines of code in one file: without tests, comments and blank lines.
const FILE_LINES_MAX: usize = 300;

/// The files of each program, parsed once for all tests.
static EXTENSION: LazyLock<Vec<Source>> = LazyLock::new(|| {
    read(Path::new("src"), Path::new("src"), &|path| !path.starts_with("src/wrapper"))
});
static WRAPPER: LazyLock<Vec<Source>> =
    LazyLock::new(|| read(Path::new("src/wrapper"), Path::new("src/wrapper"), &|_| true));

/// One source file.
struct Source {
    reading: Reading,
    lines_of_code: usize,
}

/// The imports of one file from its own crate, and the lengths of its functions.
#[derive(Default)]
struct Reading {
    module: Vec<String>,
    paths: BTreeSet<Vec<String>>,
    functions: Vec<(String, usize)>,
    test_lines: BTreeSet<usize>,
}

#[test]
fn no_import_of_the_extension_goes_up() {
    let found = arrows_up(&imports(&EXTENSION));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_two_files_import_each_other() {
    for sources in [&EXTENSION, &WRAPPER] {
        let found = circles(imports(sources));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

#[test]
fn a_planted_arrow_and_a_planted_circle_are_found() {
    let planted = |code: &str| {
        let file = |module: &[&str], code: &str| {
            Source::of(module.iter().map(ToString::to_string).collect(), code)
        };
        imports(&[
            file(&["relay", "queue"], "use crate::net::{freeze::Clock, url::Url};"),
            file(&["net", "freeze"], code),
            file(&["net", "url"], "fn f() { super::freeze::f() }"),
        ])
    };
    let sound = planted("#[cfg(test)] mod tests { use crate::relay::queue::Queue; }");
    assert_eq!((arrows_up(&sound), circles(sound)), (Vec::new(), Vec::new()));
    let up = planted("fn f() -> crate::relay::queue::Queue { todo() }");
    assert_eq!(arrows_up(&up), ["net::freeze imports relay::queue"]);
    let circular = planted("use super::url::Url;");
    assert_eq!(circles(circular), ["net::freeze -> net::url -> net::freeze"]);
}

#[test]
fn functions_and_files_are_short() {
    let (mut functions, mut too_long) = (Vec::new(), Vec::new());
    for Source { reading, lines_of_code } in EXTENSION.iter().chain(&*WRAPPER) {
        if *lines_of_code > FILE_LINES_MAX {
            too_long.push(format!("{}: {lines_of_code} lines of code", reading.module.join("::")));
        }
        functions.extend(&reading.functions);
    }
    functions.sort_by_key(|(_, lines)| *lines);
    let longest = functions.iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    too_long.extend(longest.map(|(name, lines)| format!("{name}: {lines} lines")));
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
    let at = |percent: usize| functions[functions.len() * percent / 100].1;
    assert!(
        at(50) <= FUNCTION_LINES_MEDIAN && at(90) <= FUNCTION_LINES_P90,
        "{}, {}",
        at(50),
        at(90)
    );
}

fn read(root: &Path, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<Source> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let read_entry = |path: PathBuf| {
        if path.is_dir() {
            return read(root, &path, wanted);
        }
        if path.extension().is_none_or(|it| it != "rs") {
            return Vec::new();
        }
        let module = path.strip_prefix(root).unwrap().with_extension("");
        let module = module.iter().map(|it| it.to_str().unwrap().to_owned()).collect();
        vec![Source::of(module, &fs::read_to_string(&path).unwrap())]
    };
    entries.into_iter().filter(|path| wanted(path)).flat_map(read_entry).collect()
}

/// The imports between files, by module. Imports between a file and its own folder do not count.
fn imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: Vec<&Vec<String>> = sources.iter().map(|it| &it.reading.module).collect();
    let owner = |path: &[String]| {
        modules.iter().filter(|it| path.starts_with(it)).max_by_key(|it| it.len()).copied()
    };
    let imported = |Reading { module, paths, .. }: &Reading| {
        let owners = paths.iter().filter_map(|path| owner(path));
        let others = owners.filter(|it| !it.starts_with(module) && !module.starts_with(it));
        others.map(|it| it.join("::")).collect()
    };
    let of = |Source { reading, .. }: &Source| (reading.module.join("::"), imported(reading));
    sources.iter().map(of).collect()
}

fn arrows_up(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let layer = |module: &str| {
        let folder = module.split("::").next().unwrap();
        let at = LAYERS.iter().position(|it| *it == folder);
        at.unwrap_or_else(|| panic!("{folder} is in no layer"))
    };
    let all = imports.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let up = all.filter(|(from, to)| layer(to) < layer(from));
    up.map(|(from, to)| format!("{from} imports {to}")).collect()
}

/// The circles. After one is found, its last import is removed, and the search goes on.
fn circles(mut imports: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut circles = Vec::new();
    while let Some(circle) = circle(&imports) {
        imports.get_mut(&circle[0]).unwrap().remove(&circle[1]);
        circles.push(circle.join(" -> "));
    }
    circles
}

fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| circle_from(module, imports, &mut Vec::new(), &mut done))
}

fn circle_from<'a>(
    module: &'a str,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|it| *it == module) {
        let circle = way[at..].iter().chain([&module]);
        return Some(circle.map(ToString::to_string).collect());
    }
    if done.contains(module) {
        return None;
    }
    way.push(module);
    let found = imports[module].iter().find_map(|next| circle_from(next, imports, way, done));
    way.pop();
    done.insert(module);
    found
}

impl Source {
    fn of(module: Vec<String>, code: &str) -> Self {
        let reading = Reading::of(module, code);
        Self { lines_of_code: reading.lines_of_code(code), reading }
    }
}

impl Reading {
    fn of(module: Vec<String>, code: &str) -> Self {
        let is_test = module.last().is_some_and(|it| it.ends_with("tests"));
        let mut reading = Self { module, ..Self::default() };
        if is_test {
            reading.test_lines.extend(1..=code.lines().count());
        } else {
            reading.visit_file(&syn::parse_file(code).unwrap());
        }
        reading
    }

    fn lines_of_code(&self, code: &str) -> usize {
        let lines = code.lines().enumerate().filter(|(at, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with("//") && !self.test_lines.contains(&(at + 1))
        });
        lines.count()
    }

    /// Adds `path`, resolved from the crate's root. Paths to other crates are skipped.
    fn add(&mut self, path: &[String]) {
        let mut at = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => at.clear(),
            Some("self") => {}
            Some("super") => drop(at.pop()),
            _ => return,
        }
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            if first == "super" && !std::ptr::eq(first, &raw const path[0]) {
                at.pop();
            } else if !matches!(first.as_str(), "crate" | "self" | "super") {
                at.push(first.clone());
            }
        }
        self.paths.insert(at);
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => self.add(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.add(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|it| self.add_use(it, before)),
        }
    }

    fn add_function(&mut self, name: &impl ToString, whole: Span) {
        let lines = whole.end().line - whole.start().line + 1;
        let name = format!("{}::{}", self.module.join("::"), name.to_string());
        self.functions.push((name, lines));
    }
}

impl<'ast> Visit<'ast> for Reading {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            let span = item.span();
            self.test_lines.extend(span.start().line..=span.end().line);
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.add(&names);
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.add_function(&function.sig.ident, span_of(function.sig.span(), &function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add_function(&function.sig.ident, span_of(function.sig.span(), &function.block));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.add_function(&function.sig.ident, span_of(function.sig.span(), block));
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn span_of(signature: Span, block: &Block) -> Span {
    signature.join(block.span()).unwrap_or_else(|| block.span())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Mod(ItemMod { attrs, .. }) => attrs,
        Item::Struct(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// Whether the attribute is `#[cfg(test)]` or `#[cfg(fuzzing)]`, alone or with others.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let condition = list.tokens.to_string();
    list.path.is_ident("cfg") && ["test", "fuzzing"].contains(&condition.as_str())
}
