//! Writes the C form of the interface from the definitions in `src/abi`.

use std::fmt::Write;

use byoc_plugin::abi::{CONSTANTS, Constant, EPOCH, Field, MINOR, STRUCTS, StructLayout};

/// Structs of which C sees only pointers.
const OPAQUE: [&str; 4] = ["Error", "Region", "CallToken", "Constants"];

const BEGIN: &str = r#"/* Written by the tests of byoc-plugin from its definitions in src/abi: do not edit.
 *
 * The binary interface between a BYOC host and a plugin. Every struct begins with byoc_head, or never changes;
 * whoever reads one looks only at what ends within the other side's struct_size. Functions return NULL, or an
 * error made by the host. <byoc.h> is the easy way to use this file.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef BYOC_ABI_H
#define BYOC_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define BYOC_ASSERT(condition) static_assert(condition, #condition)
#else
#define BYOC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

"#;

const END: &str = r#"
#ifdef __cplusplus
}
#endif

#endif
"#;

/// The whole of `byoc_abi.h`.
pub fn header() -> String {
    let structs: Vec<&StructLayout> = STRUCTS.iter().copied().flatten().collect();
    let mut text = BEGIN.to_owned();
    let _ = writeln!(text, "#define BYOC_EPOCH {EPOCH}u\n#define BYOC_MINOR {MINOR}u\n");
    for constant in CONSTANTS.iter().copied().flatten() {
        text += &define(constant);
    }
    text.push('\n');
    for name in OPAQUE.into_iter().chain(structs.iter().map(|layout| layout.name)) {
        let name = c_name(name);
        let _ = writeln!(text, "typedef struct {name} {name};");
    }
    text += "\ntypedef void (*byoc_loop_body)(void *user, uint64_t index);\n";
    for layout in &structs {
        text += &declare(layout);
    }
    text.push('\n');
    for layout in &structs {
        text += &assertions(layout);
    }
    text + END
}

fn define(constant: &Constant) -> String {
    let value = match constant.bits {
        64 => format!("UINT64_C({:#x})", constant.value),
        _ => format!("UINT32_C({})", constant.value),
    };
    format!("{}#define BYOC_{} {value}\n", comment(constant.docs, ""), constant.name)
}

fn declare(layout: &StructLayout) -> String {
    let mut text = format!("\n{}struct {} {{\n", comment(layout.docs, ""), c_name(layout.name));
    for field in layout.fields {
        let _ = writeln!(text, "{}    {};", comment(field.docs, "    "), declarator(field));
    }
    text + "};\n"
}

fn assertions(layout: &StructLayout) -> String {
    let name = c_name(layout.name);
    let upper = name.to_uppercase();
    let mut text = format!("#define {upper}_MIN_SIZE {}\n", layout.min_size);
    let _ = writeln!(text, "BYOC_ASSERT(sizeof({name}) == {});", layout.size);
    for field in layout.fields {
        let _ = writeln!(text, "BYOC_ASSERT(offsetof({name}, {}) == {});", field.name, field.offset);
    }
    text
}

fn comment(docs: &[&str], indent: &str) -> String {
    let text: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
    let text = text.join(" ").replace('`', "");
    if text.is_empty() { String::new() } else { format!("{indent}/* {text} */\n") }
}

/// A field's type and name as C declares them.
fn declarator(field: &Field) -> String {
    let argument = |ty: &str| ty.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>')).map(c_name);
    match (field.ty.split('<').next(), argument(field.ty)) {
        (Some("Call"), Some(args)) => format!("byoc_error *(*{})({args} *args)", field.name),
        (Some("Notify"), Some(args)) => format!("void (*{})({args} *args)", field.name),
        _ => {
            let ty = c_type(field.ty);
            let space = if ty.ends_with('*') { "" } else { " " };
            format!("{ty}{space}{}", field.name)
        }
    }
}

fn c_type(ty: &str) -> String {
    if let Some(pointee) = ty.strip_prefix("*const ") {
        return match pointee.starts_with('*') {
            true => format!("{}const *", c_type(pointee)),
            false => format!("const {} *", c_type(pointee)),
        };
    }
    if let Some(pointee) = ty.strip_prefix("*mut ") {
        return format!("{} *", c_type(pointee)).replace("* *", "**");
    }
    match ty {
        "u8" | "u32" | "u64" => format!("uint{}_t", &ty[1..]),
        "i32" | "i64" => format!("int{}_t", &ty[1..]),
        "f32" => "float".to_owned(),
        "f64" => "double".to_owned(),
        "c_void" => "void".to_owned(),
        _ => c_name(ty),
    }
}

/// `DeviceId` as `byoc_device_id`.
fn c_name(name: &str) -> String {
    let mut snake = "byoc".to_owned();
    let mut after_lower = true;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = c.is_ascii_lowercase();
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
