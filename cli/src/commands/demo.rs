//! `florence2 demo`: runs every task on a sample scene with the embedded demo model.

mod findings;
mod scenes;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use florence2::{
    Florence2, ImageFeatures, ImageLimits, OutputKind, RunOptions, TASKS, TaskSpec, decode_image_with,
};
use florence2_demo::{File, SCENES};
use image::RgbImage;

use self::findings::Findings;
use self::scenes::SceneArg;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::output::{Destination, Target, answer_text, heading, write_annotated, write_file};

/// Run every task on a sample scene with the embedded demo model
///
/// Tasks that take a caption or a box take them from the answers before.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The folder for the scene and the annotated images
    #[arg(short, long, value_name = "DIR", default_value = "florence2-demo")]
    out: PathBuf,
    /// The scene: its number, or `all`
    #[arg(long, value_name = "N", default_value = "1", value_parser = scenes::parse)]
    scene: SceneArg,
}

pub fn demo(args: &DemoArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
    let mut out = Destination::open(&Target::Stdout)?;
    let start = Instant::now();
    let model = engine::load(Some(&ModelArg::Demo), globals, console)?;
    console.detail(&format!(
        "the model was ready after {:.2} s",
        start.elapsed().as_secs_f64()
    ));

    let start = Instant::now();
    let scenes = args.scene.scenes();
    for scene in scenes {
        show(scene, &model, &args.out, &mut out, console)?;
    }
    out.commit()?;
    console.note(&format!(
        "{} tasks on {} of {} scenes took {:.1} s; the annotated images are in {}",
        TASKS.len(),
        scenes.len(),
        SCENES.len(),
        start.elapsed().as_secs_f64(),
        args.out.display(),
    ));
    console.note(
        "this model is tiny and knows drawn shapes and signs; to use your own: florence2 export --help",
    );
    Ok(Outcome::AllGood)
}

fn show(
    scene: &File,
    model: &Florence2,
    folder: &Path,
    out: &mut Destination,
    console: &Console,
) -> Result<()> {
    let copy = folder.join(scene.name);
    write_file(&copy, scene.bytes)?;
    let image = decode_image_with(scene.name, scene.bytes, &ImageLimits::default())?;
    let show = Show {
        scene,
        model,
        folder,
        features: model.encode_image(&image)?,
        image,
    };
    let size = show.features.image_size();
    out.write(&heading(
        &copy.display().to_string(),
        &format!("{} x {} pixels", size.width, size.height),
    ))?;

    let mut findings = Findings::default();
    let progress = console.bar(TASKS.len());
    for spec in &TASKS {
        progress.message(spec.name);
        let section = show.ask(spec, &mut findings)?;
        console.suspend(|| out.write(&section).and_then(|()| out.flush()))?;
        progress.step();
    }
    console.suspend(|| out.write("\n"))
}

/// A scene with its image features.
struct Show<'a> {
    scene: &'a File,
    model: &'a Florence2,
    folder: &'a Path,
    image: RgbImage,
    features: ImageFeatures,
}

impl Show<'_> {
    /// Runs a task. Returns the question, the answer, and the path of the annotated image if there is one.
    fn ask(&self, spec: &TaskSpec, findings: &mut Findings) -> Result<String> {
        let (task, about) = findings.task(spec.kind, self.features.image_size())?;
        let output = self
            .model
            .run_with(&self.features, &task, &RunOptions::default())?;
        findings.learn(spec.kind, &output.parsed);

        let asked = if about.is_empty() {
            spec.summary.to_owned()
        } else {
            format!("{}: {about}", spec.summary)
        };
        let mut section = format!(
            "\n{}{}",
            heading(spec.name, &asked),
            answer_text(&output.parsed, 2)
        );
        if spec.output != OutputKind::PureText {
            let stem = Path::new(self.scene.name).with_extension("");
            let path = self.folder.join(format!("{}-{}.png", stem.display(), spec.name));
            write_annotated(&Target::File(path.clone()), &self.image, &output.parsed)?;
            section.push_str(&format!("  -> {}\n", path.display()));
        }
        Ok(section)
    }
}
