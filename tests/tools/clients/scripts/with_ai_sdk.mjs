// Vercel's AI SDK (npm ai) over @ai-sdk/openai-compatible.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { BASE, BUSY, KEY, MODEL, check, run, thrown } from './cases.mjs';

const settings = { name: 'folkmoot', apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true };
const provider = createOpenAICompatible({ ...settings, baseURL: BASE });
const model = provider(MODEL);
const place = z.object({ city: z.enum(['Paris', 'London', 'Rome']) });
const prompt = 'What is the weather in Paris?';

await run('chat', async () => {
  const found = await generateText({ model, instructions: 'You are brief.', prompt, maxOutputTokens: 12, maxRetries: 0 });
  check(found.usage.outputTokens > 0, JSON.stringify(found.usage));
  check(['stop', 'length'].includes(found.finishReason), found.finishReason);
  return JSON.stringify(found.text);
});

await run('stream', async () => {
  const found = streamText({ model, prompt, maxOutputTokens: 12, maxRetries: 0, temperature: 0.5, seed: 1 });
  let text = '';
  for await (const delta of found.textStream) text += delta;
  check((await found.usage).outputTokens > 0, JSON.stringify(await found.usage));
  return `${await found.finishReason} ${JSON.stringify(text)}`;
});

await run('tools', async () => {
  let calls = 0;
  const weather = tool({
    description: 'The weather in a city', inputSchema: place, execute: async () => { calls += 1; return 'Sunny.'; },
  });
  const found = await generateText({
    model, prompt, tools: { weather }, toolChoice: 'required', maxOutputTokens: 64, temperature: 0, maxRetries: 0,
    stopWhen: stepCountIs(2), prepareStep: ({ stepNumber }) => (stepNumber ? { toolChoice: 'none' } : {}),
  });
  check(calls === 1, `the tool ran ${calls} times`);
  return `${found.steps.length} steps`;
});

await run('tools: streamed', async () => {
  const weather = tool({ description: 'The weather in a city', inputSchema: place });
  const found = streamText({
    model, prompt, tools: { weather }, toolChoice: { type: 'tool', toolName: 'weather' }, maxOutputTokens: 64, temperature: 0, maxRetries: 0,
  });
  const calls = await found.toolCalls;
  check(calls.length === 1 && calls[0].input.city, JSON.stringify(calls));
  return JSON.stringify(calls[0].input);
});

await run('schema', async () => {
  const found = await generateText({ model, prompt, output: Output.object({ schema: place }), maxOutputTokens: 64, temperature: 0, maxRetries: 0 });
  check(found.output.city, found.text);
  return JSON.stringify(found.output);
});

await run('completions', async () => {
  const found = await generateText({
    model: provider.completionModel(MODEL), prompt: 'The sea is', maxOutputTokens: 8, maxRetries: 0,
  });
  return JSON.stringify(found.text);
});

await run('errors', async () => {
  const error = await thrown(() => generateText({ model: provider('no-such-model'), prompt, maxRetries: 0 }));
  check(APICallError.isInstance(error) && error.statusCode === 404, error.message);
  check(error.message.includes('no-such-model'), error.message);
  return error.message;
});

await run('retry', async () => {
  const busy = createOpenAICompatible({ ...settings, baseURL: BUSY })(MODEL);
  const found = await generateText({ model: busy, prompt, maxOutputTokens: 4, maxRetries: 2 });
  return JSON.stringify(found.text);
});
