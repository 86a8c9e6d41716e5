//! The cost policy against every placement there is, on small random graphs.

mod support;

use byoc_partitioner::{CostModel, Link, NoCheck, Options, Policy, Rates, Report, TargetProfile, partition};
use support::always::check_always;
use support::{Ready, tables};

/// Elements of every value, float32.
const ELEMENTS: u64 = 256;
const UNARY: [&str; 3] = ["Relu", "Abs", "Exp"];
const ALL: [&str; 4] = ["Relu", "Abs", "Exp", "Add"];

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

struct Node {
    op: usize,
    /// Earlier nodes; `None` is the graph's input.
    inputs: Vec<Option<usize>>,
}

struct Vendor {
    /// By operator, and by pair of operators: time of the composite.
    single: [Option<f64>; 4],
    pairs: Vec<(usize, usize, f64)>,
    launch: f64,
    /// Nothing where it computes in host memory.
    copies: Option<(Link, Link)>,
}

struct World {
    nodes: Vec<Node>,
    vendors: Vec<Vendor>,
    host: [f64; 4],
}

#[derive(Clone)]
struct Composite {
    vendor: usize,
    nodes: Vec<usize>,
    us: f64,
}

impl World {
    fn new(random: &mut Random) -> World {
        let count = 4 + random.below(9);
        let nodes = (0..count).map(|i| {
            let op = random.below(4);
            let arity = if ALL[op] == "Add" { 2 } else { 1 };
            let mut pick = || {
                let near = i.saturating_sub(4);
                (i > 0 && !random.chance(15)).then(|| near + random.below(i - near))
            };
            Node { op, inputs: (0..arity).map(|_| pick()).collect() }
        });
        let nodes = nodes.collect();
        let host = std::array::from_fn(|_| 4.0 + random.below(30) as f64);
        let vendors = (0..1 + random.below(3)).map(|_| Vendor::new(random)).collect();
        World { nodes, vendors, host }
    }

    fn users(&self, node: usize) -> Vec<usize> {
        let uses = |u: &usize| self.nodes[*u].inputs.contains(&Some(node));
        (0..self.nodes.len()).filter(uses).collect()
    }

    fn model(&self) -> String {
        let name = |v: &Option<usize>| v.map_or("x".to_owned(), |n| format!("n{n}"));
        let mut body = String::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(name).collect();
            body += &format!("n{i} = {}({})\n", ALL[node.op], inputs.join(", "));
        }
        let ends = (0..self.nodes.len()).filter(|n| self.users(*n).is_empty());
        let ends: Vec<String> = ends.map(|n| format!("float[{ELEMENTS}] n{n}")).collect();
        format!(
            "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[{ELEMENTS}] x) => ({}) {{\n{body}}}",
            ends.join(", ")
        )
    }

    fn table(&self, index: usize) -> String {
        let vendor = &self.vendors[index];
        let mut text = format!("[vendor]\nname = \"v{index}\"\n");
        for (op, us) in ALL.iter().zip(vendor.single) {
            let Some(us) = us else { continue };
            let args = if *op == "Add" { "a, b" } else { "a" };
            text += &format!(
                "[[pattern]]\nname = \"{op}\"\nmatch = \"y = {op}({args})\"\ncost = {{ fixed_us = {us:?} }}\n"
            );
        }
        for (first, second, us) in &vendor.pairs {
            let (first, second) = (ALL[*first], UNARY[*second]);
            let args = if first == "Add" { "a, b" } else { "a" };
            text += &format!(
                "[[pattern]]\nname = \"{first}_{second}\"\nmatch = \"s = {first}({args})\\ny = {second}(s)\"\n"
            );
            text += &format!("cost = {{ fixed_us = {us:?} }}\n");
        }
        text
    }

    fn model_of_cost(&self) -> CostModel {
        let mut model = CostModel::default();
        let rate = |us: f64| Rates { fixed_us: Some(us), ..Rates::default() };
        let rates = ALL.iter().zip(self.host).map(|(op, us)| (op.to_string(), rate(us)));
        model.set(TargetProfile { name: "host".into(), rates: rates.collect(), ..Default::default() });
        for (i, vendor) in self.vendors.iter().enumerate() {
            model.set(TargetProfile {
                name: format!("v{i}"),
                launch_us: Some(vendor.launch),
                memory: vendor.copies.is_none().then(|| "host".to_owned()),
                copy_in: vendor.copies.map(|c| c.0),
                copy_out: vendor.copies.map(|c| c.1),
                ..Default::default()
            });
        }
        model
    }

    /// Composites whose last node is `node`.
    fn composites(&self, node: usize) -> Vec<Composite> {
        let mut found = Vec::new();
        for (i, vendor) in self.vendors.iter().enumerate() {
            let op = self.nodes[node].op;
            found.extend(vendor.single[op].map(|us| Composite { vendor: i, nodes: vec![node], us }));
            let Some(before) = self.nodes[node].inputs[0] else { continue };
            for (first, second, us) in &vendor.pairs {
                let fits = *first == self.nodes[before].op && *second == op && self.users(before) == [node];
                found.extend(fits.then(|| Composite { vendor: i, nodes: vec![before, node], us: *us }));
            }
        }
        found
    }

    /// Work and transfers.
    fn flat(&self, composites: &[Composite]) -> f64 {
        let owner = |n: usize| composites.iter().find(|c| c.nodes.contains(&n)).map(|c| c.vendor);
        let memory = |v: Option<usize>| v.filter(|v| self.vendors[*v].copies.is_some());
        let link = |v: usize| self.vendors[v].copies.expect("it has a memory of its own");
        let mut us: f64 = composites.iter().map(|c| c.us).sum();
        us += (0..self.nodes.len())
            .filter(|n| owner(*n).is_none())
            .map(|n| self.host[self.nodes[n].op])
            .sum::<f64>();
        let bytes = 4 * ELEMENTS;
        for value in [None].into_iter().chain((0..self.nodes.len()).map(Some)) {
            let from = memory(value.and_then(owner));
            let users: Vec<usize> =
                (0..self.nodes.len()).filter(|u| self.nodes[*u].inputs.contains(&value)).collect();
            let mut to: Vec<Option<usize>> = users.iter().map(|u| memory(owner(*u))).collect();
            if users.is_empty() && value.is_some() {
                to.push(None);
            }
            to.sort_unstable();
            to.dedup();
            to.retain(|m| *m != from);
            if let (Some(from), false) = (from, to.is_empty()) {
                us += link(from).1.time(bytes);
            }
            us += to.iter().flatten().map(|m| link(*m).0.time(bytes)).sum::<f64>();
        }
        us
    }

    /// Whether blocks, hosts' nodes being blocks of their own, can be put in an order.
    fn is_acyclic(&self, blocks: &[Vec<usize>]) -> bool {
        let mut block = vec![usize::MAX; self.nodes.len()];
        blocks.iter().enumerate().for_each(|(b, nodes)| nodes.iter().for_each(|n| block[*n] = b));
        let mut count = blocks.len();
        for b in block.iter_mut().filter(|b| **b == usize::MAX) {
            *b = count;
            count += 1;
        }
        let mut before = vec![0u32; count];
        for (n, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().flatten().for_each(|i| before[block[n]] |= 1 << block[*i]);
        }
        (0..count).for_each(|b| before[b] &= !(1 << b));
        let mut done = 0u32;
        for _ in 0..count {
            let ready = (0..count).filter(|b| done & (1 << b) == 0 && before[*b] & !done == 0);
            let ready: u32 = ready.map(|b| 1 << b).sum();
            done |= ready;
        }
        done.count_ones() as usize == count
    }

    fn launches(&self, regions: &[(usize, Vec<usize>)]) -> f64 {
        regions.iter().map(|(vendor, _)| self.vendors[*vendor].launch).sum()
    }
}

impl Vendor {
    fn new(random: &mut Random) -> Vendor {
        let mut vendor = Vendor {
            single: std::array::from_fn(|_| random.chance(60).then(|| 1.0 + random.below(20) as f64)),
            pairs: Vec::new(),
            launch: random.below(12) as f64,
            copies: None,
        };
        for _ in 0..random.below(3) {
            let (first, second) = (random.below(4), random.below(3));
            if vendor.pairs.iter().all(|p| (p.0, p.1) != (first, second)) {
                vendor.pairs.push((first, second, 1.0 + random.below(25) as f64));
            }
        }
        if random.chance(70) {
            let mut link = || Link { fixed_us: random.below(6) as f64, gbps: Some(0.25) };
            vendor.copies = Some((link(), link()));
        }
        vendor
    }
}

/// Looks through every placement that could take less than `best`.
struct Exhaustive<'a> {
    world: &'a World,
    /// By number of nodes left: the least that their work can take.
    least: Vec<f64>,
    best: f64,
}

impl<'a> Exhaustive<'a> {
    fn new(world: &'a World, best: f64) -> Exhaustive<'a> {
        let mut least = vec![0.0];
        for n in 0..world.nodes.len() {
            let share = |c: Composite| c.us / c.nodes.len() as f64;
            let users = world.users(n).into_iter();
            let offers = users.chain([n]).flat_map(|last| world.composites(last));
            let shares = offers.filter(|c| c.nodes.contains(&n)).map(share);
            least.push(least[n] + shares.fold(world.host[world.nodes[n].op], f64::min));
        }
        Exhaustive { world, least, best }
    }

    /// Places the node before `left`, given what is behind it.
    fn place(&mut self, left: usize, work: f64, composites: &mut Vec<Composite>) {
        // What the rest takes at least, nodes that are placed already apart.
        let placed = composites.iter().flat_map(|c| &c.nodes).filter(|n| **n < left);
        let placed: f64 = placed.map(|n| self.least[n + 1] - self.least[*n]).sum();
        if work + self.least[left] - placed >= self.best - 1e-9 {
            return;
        }
        let Some(node) = left.checked_sub(1) else { return self.finish(composites) };
        if composites.iter().any(|c| c.nodes.contains(&node)) {
            return self.place(node, work, composites);
        }
        for composite in self.world.composites(node) {
            if composites.iter().all(|c| composite.nodes.iter().all(|n| !c.nodes.contains(n))) {
                let us = composite.us;
                composites.push(composite);
                self.place(node, work + us, composites);
                composites.pop();
            }
        }
        self.place(node, work + self.world.host[self.world.nodes[node].op], composites);
    }

    fn finish(&mut self, composites: &[Composite]) {
        let flat = self.world.flat(composites);
        self.group(composites, flat, &mut Vec::new());
    }

    /// All ways to put composites of one vendor into regions.
    fn group(&mut self, left: &[Composite], flat: f64, regions: &mut Vec<(usize, Vec<usize>)>) {
        if flat + self.world.launches(regions) >= self.best - 1e-9 {
            return;
        }
        let Some((first, rest)) = left.split_first() else {
            let blocks: Vec<Vec<usize>> = regions.iter().map(|(_, nodes)| nodes.clone()).collect();
            if self.world.is_acyclic(&blocks) {
                self.best = flat + self.world.launches(regions);
            }
            return;
        };
        for i in 0..regions.len() {
            if regions[i].0 == first.vendor {
                regions[i].1.extend(&first.nodes);
                self.group(rest, flat, regions);
                let len = regions[i].1.len() - first.nodes.len();
                regions[i].1.truncate(len);
            }
        }
        regions.push((first.vendor, first.nodes.clone()));
        self.group(rest, flat, regions);
        regions.pop();
    }
}

/// What the world says that a reported placement takes.
fn told(world: &World, report: &Report) -> f64 {
    let number = |name: &String| name[1..].parse::<usize>().expect("a node is called nN");
    let mut composites = Vec::new();
    for region in &report.regions {
        let vendor = number(&region.vendor);
        for composite in &region.composites {
            let mut nodes: Vec<usize> = composite.nodes.iter().map(number).collect();
            nodes.sort_unstable();
            let last = nodes[nodes.len() - 1];
            let same = |c: &Composite| c.vendor == vendor && c.nodes == nodes;
            composites.push(world.composites(last).into_iter().find(same).expect("the table has it"));
        }
    }
    let launch = |r: &byoc_partitioner::RegionReport| world.vendors[number(&r.vendor)].launch;
    world.flat(&composites) + report.regions.iter().map(launch).sum::<f64>()
}

#[test]
fn never_above_greedy_and_close_to_the_best_there_is() {
    let (mut excess, mut improved, mut optimal, worlds) = (0.0, 0, 0, 60);
    for seed in 0..worlds {
        let world = World::new(&mut Random(seed));
        let ready = Ready::from_text(&world.model());
        let texts: Vec<String> = (0..world.vendors.len()).map(|v| world.table(v)).collect();
        let tables = tables(&texts).expect("the tables are valid");
        let options = Options { policy: Policy::Cost, cost: world.model_of_cost(), ..Options::default() };
        let result = partition(&ready.model, &tables, &options, &mut NoCheck).expect("it is valid");
        let report = ready.report(&result);
        let us = report.summary.predicted_us.expect("all figures are known");
        let greedy = report.summary.greedy_predicted_us.expect("all figures are known");
        assert!(!report.summary.predicted_partial);
        assert!(
            (us - told(&world, &report)).abs() < 1e-6,
            "seed {seed}: {us} is not {}",
            told(&world, &report)
        );
        assert!(us <= greedy + 1e-9, "seed {seed}: {us} is more than greedy's {greedy}");
        let mut wrong = Vec::new();
        check_always(&ready, &tables, &options, &result, &report, &mut wrong);
        assert!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n"));
        let mut search = Exhaustive::new(&world, us);
        search.place(world.nodes.len(), 0.0, &mut Vec::new());
        excess += us / search.best - 1.0;
        improved += usize::from(us < greedy - 1e-9);
        optimal += usize::from(us < search.best + 1e-9);
    }
    let mean = 100.0 * excess / worlds as f64;
    println!("{mean:.3} % above the optimum; {optimal} of {worlds} optimal; {improved} better than greedy");
    assert!(mean < 2.0, "{mean} % above the optimum on average");
    assert!(improved > 0, "the policy never improves on greedy");
}
