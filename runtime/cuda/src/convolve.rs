//! Convolutions as a library is asked for them.

use byoc_plugin::DType;

use crate::kernels::window::Windows;

/// `y = activation(alpha · (x ∗ w) + beta · addend + bias)`: all that a way to do it depends on. Images have two axes at
/// least: one of a single axis has a second one of size 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    /// Of all that is read and written.
    pub dtype: DType,
    /// Images, channels, and the sizes of an image.
    pub image: Vec<usize>,
    /// Output channels, input channels of a group, and the sizes of a window.
    pub weights: Vec<usize>,
    pub output: Vec<usize>,
    /// Zeros around the image, as many before as behind.
    pub pads: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub groups: usize,
    /// A number for each channel.
    pub bias: bool,
    pub addend: bool,
    pub relu: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Convolve {
    pub form: Form,
    pub alpha: f64,
    /// Of the addend.
    pub beta: f64,
}

impl Form {
    /// A convolution with nothing behind it; `None` where the zeros before an image and behind it are not alike, or sizes
    /// are not of 32 bits.
    pub fn new(
        dtype: DType,
        [weights, image]: [&[usize]; 2],
        windows: &Windows,
        groups: usize,
    ) -> Option<Form> {
        let fit = windows.fit(&image[2..]).ok()?;
        let reach = |axis: usize| (windows.kernel[axis].max(1) - 1) * windows.dilations[axis] + 1;
        let even = |(axis, (count, before)): (usize, &(usize, usize))| {
            let room = (image[2 + axis] + 2 * before).checked_sub(reach(axis));
            room.is_some_and(|room| room / windows.strides[axis] + 1 == *count)
        };
        if !fit.iter().enumerate().all(even) {
            return None;
        }
        let counts = fit.iter().map(|(count, _)| *count);
        let mut form = Form {
            dtype,
            image: image.to_vec(),
            weights: weights.to_vec(),
            output: [image[0], weights[0]].into_iter().chain(counts).collect(),
            pads: fit.iter().map(|(_, before)| *before).collect(),
            strides: windows.strides.clone(),
            dilations: windows.dilations.clone(),
            groups,
            bias: false,
            addend: false,
            relu: false,
        };
        if form.pads.len() == 1 {
            for sizes in [&mut form.image, &mut form.weights, &mut form.output] {
                sizes.push(1);
            }
            form.pads.push(0);
            form.strides.push(1);
            form.dilations.push(1);
        }
        form.fits().then_some(form)
    }

    fn fits(&self) -> bool {
        let lists = [&self.image, &self.weights, &self.output, &self.strides, &self.dilations];
        let small = |size: &usize| (1..=i32::MAX as usize).contains(size);
        let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
        lists.iter().all(|list| list.iter().all(small))
            && lists[..3].iter().all(|list| count(list).is_some_and(|count| small(&count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::window::Pads;

    fn form(image: &[usize], kernel: &[usize], stride: usize, pads: Pads) -> Option<Form> {
        let ones = vec![1; kernel.len()];
        let strides = vec![stride; kernel.len()];
        let windows = Windows { kernel: kernel.to_vec(), strides, dilations: ones, pads, ceil: false };
        let weights = [&[8, image[1]], kernel].concat();
        Form::new(DType::F16, [&weights, image], &windows, 1)
    }

    #[test]
    fn zeros_have_to_be_alike_or_never_seen() {
        let even = form(&[2, 3, 9, 9], &[3, 3], 2, Pads::Given(vec![1; 4])).unwrap();
        assert_eq!((even.output, even.pads), (vec![2, 8, 5, 5], vec![1, 1]));
        // Of the zeros behind an even size, a stride of 2 sees none.
        let unseen = form(&[2, 3, 8, 8], &[3, 3], 2, Pads::Given(vec![1, 1, 0, 0])).unwrap();
        assert_eq!((unseen.output, unseen.pads), (vec![2, 8, 4, 4], vec![1, 1]));
        assert_eq!(form(&[2, 3, 8, 8], &[3, 3], 1, Pads::Given(vec![0, 0, 1, 1])), None);
        assert_eq!(form(&[2, 3, 8, 8], &[2, 2], 1, Pads::Same { behind: true }), None);
    }

    #[test]
    fn a_line_is_an_image_of_one_column() {
        let line = form(&[2, 3, 9], &[3], 1, Pads::Given(vec![1; 2])).unwrap();
        assert_eq!((line.image, line.weights), (vec![2, 3, 9, 1], vec![8, 3, 3, 1]));
        assert_eq!((line.output, line.pads), (vec![2, 8, 9, 1], vec![1, 0]));
    }
}
