// node greedy.mjs BUNDLE GOLDEN: answers every prompt of GOLDEN/answers.json with transformers.js on the exported
// BUNDLE, greedily, and compares the tokens. Exit status 1 if any differ.
//
// The images given are GOLDEN/*.resized.png: they have the model's size already, so transformers.js's own resize,
// which isn't Pillow's, has nothing to do.
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AutoProcessor, Florence2ForConditionalGeneration, RawImage, env } from '@huggingface/transformers';

const [bundle, golden] = process.argv.slice(2).map((path) => resolve(path));
if (!golden) {
    console.error('usage: node greedy.mjs BUNDLE GOLDEN');
    process.exit(2);
}
env.allowRemoteModels = false;
env.localModelPath = dirname(bundle);
const name = basename(bundle);
const model = await Florence2ForConditionalGeneration.from_pretrained(name, { dtype: 'fp32', device: 'cpu' });
const processor = await AutoProcessor.from_pretrained(name);
const { settings, images } = JSON.parse(await readFile(join(golden, 'answers.json'), 'utf8'));

let compared = 0;
let different = 0;
for (const { image: path, prompts } of images) {
    const stem = basename(path).replace(/\.[^.]*$/, '');
    const image = await RawImage.read(join(golden, `${stem}.resized.png`));
    for (const { task, input, input_ids, greedy } of prompts) {
        // Null: two tokens of this answer are too close to call.
        if (!greedy) continue;
        const inputs = await processor(image, processor.construct_prompts((task ?? '') + input));
        const output = await model.generate({ ...inputs, ...settings.greedy });
        const ids = inputs.input_ids.tolist()[0].map(Number);
        const tokens = output.tolist()[0].map(Number);
        compared += 1;
        if (String(ids) !== String(input_ids) || String(tokens) !== String(greedy.sequences[0])) {
            different += 1;
            console.log(`${stem} ${task ?? ''}${input}`);
            console.log(`  prompt  ${ids}\n  golden  ${input_ids}`);
            console.log(`  answer  ${tokens}\n  golden  ${greedy.sequences[0]}`);
        }
    }
}
console.log(`${name}: ${compared} greedy answers compared, ${different} different`);
process.exit(compared > 0 && different === 0 ? 0 : 1);
