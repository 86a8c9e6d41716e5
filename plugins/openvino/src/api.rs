//! OpenVINO's C interface: the functions used here, by their names there. Element types are never named: they are
//! asked of the compiled model, since their numbers have changed between releases.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

/// A handle of OpenVINO's.
pub type Raw = *mut c_void;
pub type Text = *const c_char;
pub type Status = c_int;
pub type ElementType = c_int;
pub type Free = unsafe extern "C" fn(Raw);
/// Makes one handle of another.
pub type Make = unsafe extern "C" fn(Raw, *mut Raw) -> Status;
pub type Count = unsafe extern "C" fn(Raw, *mut usize) -> Status;
/// Gets something by its place.
pub type At = unsafe extern "C" fn(Raw, usize, *mut Raw) -> Status;
pub type SetAt = unsafe extern "C" fn(Raw, usize, Raw) -> Status;

#[repr(C)]
pub struct Shape {
    pub rank: i64,
    pub dims: *mut i64,
}

#[repr(C)]
pub struct Names {
    pub names: *mut *mut c_char,
    pub len: usize,
}

#[repr(C)]
pub struct Version {
    pub build: Text,
    pub description: Text,
}

macro_rules! functions {
    ($($name:ident: $ty:ty;)*) => {
        /// The functions, in a library that is never unloaded.
        pub struct Api {
            $(pub $name: $ty,)*
        }

        impl Api {
            /// Loads a library and looks all functions up.
            pub fn load(path: &Path) -> Result<Api, String> {
                // SAFETY: OpenVINO's initialisers have no demands on the process.
                let library = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
                $(
                    // SAFETY: the type is that of the function in OpenVINO's headers.
                    let $name = unsafe { library.get::<$ty>(concat!(stringify!($name), "\0")) };
                    let $name = *$name.map_err(|_| format!("{} has no {}", path.display(), stringify!($name)))?;
                )*
                // OpenVINO's own threads may outlive every handle.
                std::mem::forget(library);
                Ok(Api { $($name,)* })
            }
        }
    };
}

functions! {
    ov_get_openvino_version: unsafe extern "C" fn(*mut Version) -> Status;
    ov_version_free: unsafe extern "C" fn(*mut Version);
    ov_get_last_err_msg: unsafe extern "C" fn() -> Text;
    ov_free: unsafe extern "C" fn(Text);
    ov_core_create: unsafe extern "C" fn(*mut Raw) -> Status;
    ov_core_free: Free;
    ov_core_get_available_devices: unsafe extern "C" fn(Raw, *mut Names) -> Status;
    ov_available_devices_free: unsafe extern "C" fn(*mut Names);
    ov_core_set_property: unsafe extern "C" fn(Raw, Text, ...) -> Status;
    ov_core_read_model_from_memory_buffer: unsafe extern "C" fn(Raw, *const u8, usize, Raw, *mut Raw) -> Status;
    ov_core_compile_model: unsafe extern "C" fn(Raw, Raw, Text, usize, *mut Raw, ...) -> Status;
    ov_core_import_model: unsafe extern "C" fn(Raw, *const u8, usize, Text, *mut Raw) -> Status;
    ov_model_free: Free;
    ov_model_outputs_size: Count;
    ov_model_const_output_by_index: At;
    ov_compiled_model_free: Free;
    ov_compiled_model_export_model: unsafe extern "C" fn(Raw, Text) -> Status;
    ov_compiled_model_inputs_size: Count;
    ov_compiled_model_outputs_size: Count;
    ov_compiled_model_input_by_index: At;
    ov_compiled_model_output_by_index: At;
    ov_compiled_model_create_infer_request: Make;
    ov_output_const_port_free: Free;
    ov_port_get_element_type: unsafe extern "C" fn(Raw, *mut ElementType) -> Status;
    ov_const_port_get_shape: unsafe extern "C" fn(Raw, *mut Shape) -> Status;
    ov_infer_request_free: Free;
    ov_infer_request_set_input_tensor_by_index: SetAt;
    ov_infer_request_set_output_tensor_by_index: SetAt;
    ov_infer_request_get_output_tensor_by_index: At;
    ov_infer_request_infer: unsafe extern "C" fn(Raw) -> Status;
    ov_tensor_create_from_host_ptr: unsafe extern "C" fn(ElementType, Shape, *mut c_void, *mut Raw) -> Status;
    ov_tensor_get_byte_size: Count;
    ov_tensor_get_shape: unsafe extern "C" fn(Raw, *mut Shape) -> Status;
    ov_tensor_data: unsafe extern "C" fn(Raw, *mut *mut c_void) -> Status;
    ov_tensor_free: Free;
    ov_shape_free: unsafe extern "C" fn(*mut Shape) -> Status;
}
