#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thundra_lambda_extension::fuzzing::connection(bytes));
