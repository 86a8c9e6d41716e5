//! The ways in which a product is done: by the tiled kernel, by kernels for few rows, or by a library, with an end of its own
//! where `epilogue` finds one and with the end as a kernel behind it where not.

use byoc_plugin::{Error, Result};

use super::epilogue::{self, Epilogue};
use super::product::{Of, Product, Sizes, matrix};
use super::{name, store, vectors};
use crate::convolve::{self, Convolve};
use crate::kernel::{Call, Calls, Launch, Libraries, Slot, Source, Task};
use crate::multiply::{Activation, Form, Multiply};
use crate::pointwise::Expr;
use crate::shape::{Walk, broadcast_strides, elements};
use crate::types;

/// The sources that a product may be done with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tiled,
    /// What comes behind a product that a library has done.
    Tail,
    /// Few rows: as many as there is room for.
    Rows(usize),
    /// Joins the parts of a product of few rows.
    Join,
}

impl Product {
    fn is_bare(&self) -> bool {
        matches!(self.tail.root.expr, Expr::Fresh) && self.tail.root.dtype == self.dtype
    }

    pub(super) fn all_sources(&self) -> Result<Vec<Source>> {
        self.ways().into_iter().map(|way| self.write(way)).collect()
    }

    /// The calls, unless the tiled kernel is left to do it.
    pub(super) fn other_ways(
        &self,
        inputs: &[&[usize]],
        output: &[usize],
        library: &dyn Libraries,
    ) -> Option<Calls> {
        let convolved = || self.by_convolution(inputs, output, library);
        let Some(form) = self.form(inputs) else { return convolved() };
        if matches!(self.of, Of::Matrices { .. }) && vectors::fits(&form) {
            let rows = if form.m == 1 { 1 } else { vectors::MOST_ROWS };
            let sources = [Way::Rows(rows), Way::Join].map(|way| self.source_of(way));
            return Some(vectors::calls(&form, sources, self.end(inputs, output)));
        }
        self.by_product(&form, inputs, output, library).or_else(convolved)
    }

    /// In the order of the sources.
    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::Tiled];
        if self.codes.is_some() {
            return ways;
        }
        ways.extend((!self.is_bare()).then_some(Way::Tail));
        if let Of::Matrices { transposed: [false, along] } = self.of {
            ways.extend([1, vectors::MOST_ROWS].map(Way::Rows));
            ways.extend((!along).then_some(Way::Join));
        }
        ways
    }

    fn source_of(&self, way: Way) -> usize {
        self.ways().iter().position(|own| *own == way).unwrap_or(0)
    }

    fn write(&self, way: Way) -> Result<Source> {
        match way {
            Way::Tiled => self.text(),
            Way::Tail => self.tail_text(),
            Way::Rows(rows) => self.rows_text(rows),
            Way::Join => self.join_text(),
        }
    }

    /// A source of this body; addresses of what is read come first, then what the end reads, `y`, and numbers.
    fn assemble(
        &self,
        family: &str,
        [first, behind, numbers]: [&[String]; 3],
        body: &str,
        helper: &str,
    ) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let mut arguments = first.to_vec();
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* y", types::of(self.tail.root.dtype)?.stored));
        arguments.extend_from_slice(behind);
        arguments.extend_from_slice(numbers);
        arguments.extend(self.tail.argument());
        let body = body.replace("STORE", &store(&self.tail, "o", "        ")?);
        let source = Source::new(name(family, &self.tail), &arguments, &body);
        let types = format!("typedef {} T;\ntypedef {} E;\n", of.computed, of.stored);
        Ok(Source { text: format!("{types}{helper}{}", source.text), ..source })
    }

    fn tail_text(&self) -> Result<Source> {
        let body =
            "    for (u32 o = blockIdx.x * blockDim.x + threadIdx.x; o < n; o += gridDim.x * blockDim.x) {
        const T fresh = ld(x0 + o);
STORE    }
";
        // What is read may be what is written: an element is read by the thread that writes it.
        self.assemble("tail", [&["const E* x0".into()], &[], &["const u32 n".into()]], body, "")
    }

    fn rows_text(&self, rows: usize) -> Result<Source> {
        let Of::Matrices { transposed: [_, along] } = self.of else {
            return Err(Error::internal("images have no few rows"));
        };
        let factors = ["x0", "w0"].map(|name| format!("const E* __restrict__ {name}"));
        let parts = if along { vec![] } else { vec!["T* parts".to_owned()] };
        let mut numbers = ["m", "n", "k"].map(|name| format!("const u32 {name}")).to_vec();
        numbers.extend((!along).then(|| "const u32 each".into()));
        let body = if along { vectors::ALONG } else { vectors::DOWN };
        let helper = format!("{}enum {{ ROWS = {rows} }};\n", vectors::HELPER);
        let family = format!("matvec{rows}");
        self.assemble(&family, [&factors, &parts, &numbers], body, &helper)
    }

    fn join_text(&self) -> Result<Source> {
        let numbers = ["n", "count"].map(|name| format!("const u32 {name}"));
        let parts = ["const T* __restrict__ parts".to_owned()];
        self.assemble("join", [&parts, &[], &numbers], vectors::JOIN, vectors::HELPER)
    }

    /// The product as a library would be asked for it, where it is one.
    fn form(&self, inputs: &[&[usize]]) -> Option<Form> {
        self.codes.is_none().then_some(())?;
        let (sizes, _) = self.sizes(inputs).ok()?;
        let (left_batch, right_batch, transposed) = match &self.of {
            Of::Matrices { transposed } => {
                let (left, _) = matrix(inputs[0], transposed[0], true).ok()?;
                let (right, _) = matrix(inputs[1], transposed[1], false).ok()?;
                (left, right, *transposed)
            }
            Of::Images { windows, groups } => {
                windows.is_pixel(&inputs[1][2..]).then_some(())?;
                (vec![1, *groups], sizes.batch.clone(), [false; 2])
            }
        };
        let Sizes { mut m, n, k, batch } = sizes;
        let strides = [(left_batch, m * k), (right_batch, k * n)].map(|(own, size)| {
            broadcast_strides(&own, &batch).iter().map(|stride| stride * size).collect::<Vec<_>>()
        });
        let walk = Walk { dims: batch, strides: strides.into() }.folded();
        let (mut count, mut apart) = match walk.dims[..] {
            [] => (1, [0, 0]),
            [count] => (count, [walk.strides[0][0], walk.strides[1][0]]),
            _ => return None,
        };
        // Matrices below each other are one.
        if apart == [m * k, 0] && !transposed[0] {
            (m, count, apart) = (m * count, 1, [0, 0]);
        }
        let most = i32::MAX as usize;
        let fits = [m, n, k, count].iter().all(|size| (1..=most).contains(size));
        fits.then_some(Form {
            dtype: self.dtype,
            m,
            n,
            k,
            batch: count,
            transposed,
            strides: apart,
            bias: false,
            addend: false,
            activation: Activation::None,
        })
    }

    /// What the end reads, and its structs.
    fn end(&self, inputs: &[&[usize]], output: &[usize]) -> (Vec<Vec<u32>>, Vec<Slot>) {
        let slots = (self.factors()..self.factors() + self.tail.operands.len()).map(Slot::Input).collect();
        (self.tail.structs(&inputs[self.factors()..], output), slots)
    }

    /// By a library of products.
    fn by_product(
        &self,
        form: &Form,
        inputs: &[&[usize]],
        output: &[usize],
        library: &dyn Libraries,
    ) -> Option<Calls> {
        // A column of the output is one of the product, unless the right factor has only one.
        let columns = (output.last() == Some(&form.n)).then_some(1);
        self.by_library([0, 1], columns, inputs, output, library, |end| {
            let form = Form {
                bias: end.bias.is_some(),
                addend: end.addend.is_some(),
                activation: end.activation,
                ..form.clone()
            };
            Some(Task::Multiply(Multiply { form, alpha: end.alpha, beta: end.beta }))
        })
    }

    /// By a library of convolutions.
    fn by_convolution(
        &self,
        inputs: &[&[usize]],
        output: &[usize],
        library: &dyn Libraries,
    ) -> Option<Calls> {
        let Of::Images { windows, groups } = &self.of else { return None };
        self.codes.is_none().then_some(())?;
        let form = convolve::Form::new(self.dtype, [inputs[0], inputs[1]], windows, *groups)?;
        let channels = output.len() - 1;
        self.by_library([1, 0], Some(channels), inputs, output, library, |end| {
            let relu = match end.activation {
                Activation::None => false,
                Activation::Relu => true,
                Activation::Gelu => return None,
            };
            let (bias, addend) = (end.bias.is_some(), end.addend.is_some());
            let form = convolve::Form { bias, addend, relu, ..form.clone() };
            Some(Task::Convolve(Convolve { form, alpha: end.alpha, beta: end.beta }))
        })
    }

    /// By a library that takes these `factors` and does the `task` of an end: with the end of this product, or with ours
    /// behind a bare one.
    fn by_library(
        &self,
        factors: [usize; 2],
        channels: Option<usize>,
        inputs: &[&[usize]],
        output: &[usize],
        library: &dyn Libraries,
        task: impl Fn(&Epilogue) -> Option<Task>,
    ) -> Option<Calls> {
        let call = |end: &Epilogue, target: Slot| {
            let task = task(end)?;
            let workspace = library.workspace(&task)?;
            let more = [end.bias, end.addend].into_iter().flatten();
            let mut slots = factors.map(Slot::Input).to_vec();
            slots.extend(more.map(|place| Slot::Input(self.factors() + place)));
            slots.push(target);
            slots.extend((workspace > 0).then_some(Slot::Scratch(0)));
            Some(Calls { list: vec![Call::Library { task, slots, workspace }], scratch: workspace })
        };
        let same = self.tail.root.dtype == self.dtype;
        let shapes = &inputs[self.factors()..];
        let end = channels.filter(|_| same).and_then(|at| epilogue::of(&self.tail, shapes, output, at));
        if let Some(done) = end.and_then(|end| call(&end, Slot::Output)) {
            return Some(done);
        }
        let bare = call(&Epilogue::BARE, Slot::Output)?;
        if self.is_bare() {
            return Some(bare);
        }
        // Another type needs memory of its own behind the workspace.
        let behind = bare.scratch.next_multiple_of(256);
        let target = if same { Slot::Output } else { Slot::Scratch(behind) };
        let mut calls = if same { bare } else { call(&Epilogue::BARE, target)? };
        let count = elements(output).ok()?;
        if !same {
            calls.scratch = behind + (count * types::size(self.dtype)) as u64;
        }
        let (structs, operands) = self.end(inputs, output);
        let launch = Launch::over(count, [vec![vec![count as u32]], structs].concat());
        let slots = [vec![target], operands, vec![Slot::Output]].concat();
        calls.list.push(Call::Launch { source: self.source_of(Way::Tail), launch, slots });
        Some(calls)
    }
}
