//! ggml's devices, memory and graphs, as far as measurements need them, behind a safe interface.
#![allow(unsafe_code)] // each block says why it is sound

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use llama_cpp_sys_2 as sys;

use crate::engine::backend::backend;

/// How the values of a tensor are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    Q8_0,
    Q4_0,
    /// Bytes without a meaning.
    Bytes,
}

impl Kind {
    /// ggml's and GGUF's number of it.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::F32 => sys::GGML_TYPE_F32,
            Self::F16 => sys::GGML_TYPE_F16,
            Self::Q8_0 => sys::GGML_TYPE_Q8_0,
            Self::Q4_0 => sys::GGML_TYPE_Q4_0,
            Self::Bytes => sys::GGML_TYPE_I8,
        }
    }

    /// Values of a block, and its bytes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Bytes => (1, 1),
        }
    }

    /// Bytes of this many values in whole blocks.
    pub(super) fn bytes(self, values: usize) -> usize {
        let (of, bytes) = self.block();
        values / of * bytes
    }
}

/// Values, in rows of `columns`, as a tensor of this kind holds them.
pub(super) fn quantize(kind: Kind, values: &[f32], columns: usize) -> Vec<u8> {
    assert!(columns > 0 && values.len().is_multiple_of(columns), "rows of the same length");
    assert!(columns.is_multiple_of(kind.block().0) && kind != Kind::Bytes, "rows of whole blocks");
    let mut out = vec![0_u8; kind.bytes(values.len())];
    let (rows, columns) = ((values.len() / columns) as i64, columns as i64);
    // SAFETY: `values` holds rows x columns numbers, which in whole blocks take the bytes that `out`
    // has; these kinds need no matrix of importances.
    unsafe {
        let to = out.as_mut_ptr().cast();
        sys::ggml_quantize_chunk(kind.id(), values.as_ptr(), to, 0, rows, columns, ptr::null());
    }
    out
}

/// A device of ggml.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceRef(NonNull<sys::ggml_backend_device>);

impl DeviceRef {
    /// The device with this place in ggml's list.
    pub(super) fn at(index: usize) -> Option<Self> {
        backend().ok()?;
        // SAFETY: devices have registered, since the backend has started; the index is in the list,
        // whose entries live as long as the process.
        unsafe {
            if index >= sys::ggml_backend_dev_count() {
                return None;
            }
            NonNull::new(sys::ggml_backend_dev_get(index)).map(Self)
        }
    }

    /// Where the device is, such as the address on the PCI bus; not all tell.
    pub(super) fn id(self) -> Option<String> {
        // SAFETY: the device lives; it fills `props`, whose texts are its own or null.
        unsafe {
            let mut props: sys::ggml_backend_dev_props = std::mem::zeroed();
            sys::ggml_backend_dev_get_props(self.0.as_ptr(), &raw mut props);
            (!props.device_id.is_null())
                .then(|| CStr::from_ptr(props.device_id).to_string_lossy().into_owned())
        }
    }

    /// Most bytes of one piece of its memory.
    pub(super) fn max_piece(self) -> u64 {
        // SAFETY: the device lives, and so does its kind of buffer.
        unsafe {
            let kind = sys::ggml_backend_dev_buffer_type(self.0.as_ptr());
            sys::ggml_backend_buft_get_max_size(kind) as u64
        }
    }
}

/// The version of ggml, and the commit that it was made of.
pub(super) fn version() -> (String, String) {
    // SAFETY: both are texts in static storage.
    let [version, commit] =
        unsafe { [sys::ggml_version(), sys::ggml_commit()].map(|text| CStr::from_ptr(text)) };
    (version.to_string_lossy().into_owned(), commit.to_string_lossy().into_owned())
}

/// A tensor of the [`Tensors`] that gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tensor(usize);

/// Most tensors of one [`Tensors`].
const MAX_TENSORS: usize = 8;

/// A few tensors, which may be computed from each other, in one device's memory.
pub(super) struct Tensors {
    context: NonNull<sys::ggml_context>,
    all: Vec<NonNull<sys::ggml_tensor>>,
    buffer: Option<NonNull<sys::ggml_backend_buffer>>,
}

impl Tensors {
    pub(super) fn new() -> Option<Self> {
        // SAFETY: ggml takes memory of its own for the descriptions of this many tensors and a graph;
        // their data is allocated later.
        let context = unsafe {
            let mem_size = sys::ggml_tensor_overhead() * MAX_TENSORS + sys::ggml_graph_overhead();
            let params =
                sys::ggml_init_params { mem_size, mem_buffer: ptr::null_mut(), no_alloc: true };
            sys::ggml_init(params)
        };
        NonNull::new(context).map(|context| Self { context, all: Vec::new(), buffer: None })
    }

    /// Another tensor.
    pub(super) fn tensor(&mut self, kind: Kind, columns: usize, rows: usize) -> Tensor {
        assert!(columns.is_multiple_of(kind.block().0), "rows of whole blocks");
        self.room();
        // SAFETY: the context lives and has room.
        let tensor = unsafe {
            let (columns, rows) = (columns as i64, rows as i64);
            sys::ggml_new_tensor_2d(self.context.as_ptr(), kind.id(), columns, rows)
        };
        self.add(tensor)
    }

    /// The product of a matrix and the columns of another, which has as many columns.
    pub(super) fn product(&mut self, matrix: Tensor, with: Tensor) -> Tensor {
        self.room();
        let [a, b] = [matrix, with].map(|tensor| self.all[tensor.0]);
        // SAFETY: both tensors live with this context, which has room; they have the same columns.
        let tensor = unsafe {
            assert_eq!(a.as_ref().ne[0], b.as_ref().ne[0], "as many columns");
            sys::ggml_mul_mat(self.context.as_ptr(), a.as_ptr(), b.as_ptr())
        };
        self.add(tensor)
    }

    /// The copying of a tensor into another of the same shape.
    pub(super) fn copying(&mut self, from: Tensor, to: Tensor) -> Tensor {
        self.room();
        let [a, b] = [from, to].map(|tensor| self.all[tensor.0]);
        // SAFETY: as above; both have the same number of values.
        let tensor = unsafe {
            assert_eq!(a.as_ref().ne, b.as_ref().ne, "the same shape");
            sys::ggml_cpy(self.context.as_ptr(), a.as_ptr(), b.as_ptr())
        };
        self.add(tensor)
    }

    fn room(&self) {
        assert!(self.all.len() < MAX_TENSORS && self.buffer.is_none(), "no room for a tensor");
    }

    fn add(&mut self, tensor: *mut sys::ggml_tensor) -> Tensor {
        // ggml ends the process where it has no room, and never answers with null.
        self.all.extend(NonNull::new(tensor));
        Tensor(self.all.len() - 1)
    }

    /// Takes memory of a device for all tensors; false: there is none.
    pub(super) fn allocate(&mut self, device: DeviceRef) -> bool {
        assert!(self.buffer.is_none(), "allocated once");
        // SAFETY: the context lives, and its tensors have no memory yet.
        let buffer = unsafe {
            let kind = sys::ggml_backend_dev_buffer_type(device.0.as_ptr());
            sys::ggml_backend_alloc_ctx_tensors_from_buft(self.context.as_ptr(), kind)
        };
        self.buffer = NonNull::new(buffer);
        self.buffer.is_some()
    }

    /// Copies bytes from this machine's memory into a tensor, from this offset on.
    pub(super) fn write(&mut self, tensor: Tensor, offset: usize, bytes: &[u8]) {
        let tensor = self.checked(tensor, offset, bytes.len());
        // SAFETY: the tensor has memory and room for the bytes.
        unsafe {
            sys::ggml_backend_tensor_set(
                tensor.as_ptr(),
                bytes.as_ptr().cast(),
                offset,
                bytes.len(),
            );
        }
    }

    /// Copies a part of a tensor into this machine's memory.
    pub(super) fn read(&self, tensor: Tensor, offset: usize, bytes: &mut [u8]) {
        let tensor = self.checked(tensor, offset, bytes.len());
        // SAFETY: the tensor has memory, in which all these bytes are.
        unsafe {
            let to = bytes.as_mut_ptr().cast();
            sys::ggml_backend_tensor_get(tensor.as_ptr(), to, offset, bytes.len());
        }
    }

    fn checked(&self, tensor: Tensor, offset: usize, len: usize) -> NonNull<sys::ggml_tensor> {
        let tensor = self.all[tensor.0];
        // SAFETY: the tensor lives with this context.
        let size = unsafe { sys::ggml_nbytes(tensor.as_ptr()) };
        assert!(self.buffer.is_some() && offset + len <= size, "inside of the tensor");
        tensor
    }

    /// What computes a tensor; once for each [`Tensors`].
    pub(super) fn graph(&mut self, result: Tensor) -> Graph<'_> {
        let result = self.all[result.0];
        assert!(self.buffer.is_some(), "with memory");
        // SAFETY: the context lives and has room for a graph, which lives as long as it.
        let graph = unsafe {
            let graph = sys::ggml_new_graph(self.context.as_ptr());
            sys::ggml_build_forward_expand(graph, result.as_ptr());
            graph
        };
        Graph { graph, _tensors: self }
    }
}

impl Drop for Tensors {
    fn drop(&mut self) {
        // SAFETY: both live, and nothing that borrows them does.
        unsafe {
            if let Some(buffer) = self.buffer {
                sys::ggml_backend_buffer_free(buffer.as_ptr());
            }
            sys::ggml_free(self.context.as_ptr());
        }
    }
}

/// Computes a tensor of the [`Tensors`] that it borrows.
pub(super) struct Graph<'a> {
    graph: *mut sys::ggml_cgraph,
    _tensors: &'a mut Tensors,
}

/// Computes on one device.
pub(super) struct Compute(NonNull<sys::ggml_backend>);

impl Compute {
    /// `threads` are those of a CPU.
    pub(super) fn start(device: DeviceRef, threads: u32) -> Option<Self> {
        // SAFETY: the device lives; a CPU's backend takes a number of threads.
        unsafe {
            let compute = NonNull::new(sys::ggml_backend_dev_init(device.0.as_ptr(), ptr::null()))
                .map(Self)?;
            let kind = sys::ggml_backend_dev_type(device.0.as_ptr());
            if kind == sys::GGML_BACKEND_DEVICE_TYPE_CPU {
                let threads = i32::try_from(threads.max(1)).unwrap_or(1);
                sys::ggml_backend_cpu_set_n_threads(compute.0.as_ptr(), threads);
            }
            Some(compute)
        }
    }

    /// Whether it could be computed. Returns when it is done.
    pub(super) fn run(&self, graph: &mut Graph<'_>) -> bool {
        // SAFETY: the graph lives with its tensors, whose memory this device can reach: they were
        // allocated in its own.
        let status = unsafe { sys::ggml_backend_graph_compute(self.0.as_ptr(), graph.graph) };
        status == sys::GGML_STATUS_SUCCESS
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        // SAFETY: it lives, and computes nothing now.
        unsafe { sys::ggml_backend_free(self.0.as_ptr()) };
    }
}
