// transformers.js on the plain export, as a worker (see README.md). It has no beam search.
import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { AutoProcessor, Florence2ForConditionalGeneration, RawImage, env } from '@huggingface/transformers';

const TASK = '<OD>';
env.allowRemoteModels = false;

let model, processor, prepared;

async function timed(work) {
    const start = performance.now();
    const result = await work();
    return [result, (performance.now() - start) / 1000];
}

async function inputs(path) {
    const image = await RawImage.read(path);
    return [image, await processor(image, processor.construct_prompts(TASK))];
}

async function search(inputs, beams, tokens) {
    if (beams !== 1) throw new Error('transformers.js has no beam search');
    return model.generate({ ...inputs, min_new_tokens: tokens, max_new_tokens: tokens });
}

function ids(output) {
    return output.tolist()[0].slice(1).map(Number);
}

function installed(name) {
    return JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url))).version;
}

const handlers = {
    async load({ model: folder, threads }) {
        env.localModelPath = dirname(resolve(folder));
        const name = basename(folder);
        const [, seconds] = await timed(async () => {
            model = await Florence2ForConditionalGeneration.from_pretrained(name, {
                dtype: 'fp32', device: 'cpu', session_options: { intraOpNumThreads: threads },
            });
            processor = await AutoProcessor.from_pretrained(name);
        });
        const versions = {
            'transformers.js': installed('@huggingface/transformers'), 'onnxruntime-node': installed('onnxruntime-node'),
        };
        return { seconds, versions };
    },
    async prepare({ image }) {
        const [, values] = await inputs(image);
        prepared = { ...values, features: await model.encode_image(values) };
        return {};
    },
    async vision() {
        const [features, seconds] = await timed(() => model.encode_image(prepared));
        return { seconds, norm: Math.sqrt(features.data.reduce((sum, value) => sum + value * value, 0)) };
    },
    // The time includes the text encoder, which cancels out in the difference of two lengths.
    async generate({ beams, tokens }) {
        const { features, ...values } = prepared;
        model.encode_image = async () => features;
        try {
            const [output, seconds] = await timed(() => search(values, beams, tokens));
            return { seconds, tokens: ids(output) };
        } finally {
            delete model.encode_image;
        }
    },
    async answer({ image, beams, tokens }) {
        const [output, seconds] = await timed(async () => {
            const [opened, values] = await inputs(image);
            const output = await search(values, beams, tokens);
            const [text] = processor.batch_decode(output, { skip_special_tokens: false });
            processor.post_process_generation(text, TASK, opened.size);
            return output;
        });
        return { seconds, tokens: ids(output) };
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...request } = JSON.parse(line);
    let answer;
    try {
        answer = await handlers[name](request);
    } catch (error) {
        answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}
