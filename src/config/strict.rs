//! Which texts are documents: JSON with comments and trailing commas, and nothing looser.
//!
//! Enters: nothing. Leaves: the parser's options. Also part of the build script, which looks at the
//! bundled configuration, and therefore alone in its file.

use jsonc_parser::ParseOptions;

pub(super) const STRICT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};
