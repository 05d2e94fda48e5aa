//! For tests: what a shader's `Params` look like, to be compared with the struct that is uploaded.

use naga::{Module, TypeInner};

/// Names and places of the fields, and the size of the whole.
pub fn params(source: &str) -> (Vec<(String, usize)>, usize) {
    let module: Module = naga::front::wgsl::parse_str(source).expect("the shared parameters are a shader of their own");
    let (_, found) = module.types.iter().find(|(_, found)| found.name.as_deref() == Some("Params")).expect("Params");
    let TypeInner::Struct { members, span } = &found.inner else { panic!("Params is no struct") };
    let field = |member: &naga::StructMember| (member.name.clone().expect("a name"), member.offset as usize);
    (members.iter().map(field).collect(), *span as usize)
}
