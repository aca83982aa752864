// The openai package of npm: each of its ways to ask that a gateway serves.
import OpenAI from 'openai';
import { BASE, BUSY, KEY, MODEL, PLACE, check, run, thrown } from './cases.mjs';

const client = new OpenAI({ baseURL: BASE, apiKey: KEY, maxRetries: 0, timeout: 120_000 });
const hello = [{ role: 'system', content: 'You are brief.' }, { role: 'user', content: 'Say hello.' }];
const ask = [{ role: 'user', content: 'What is the weather in Paris?' }];
const weather = { name: 'get_weather', description: 'The weather in a city', parameters: PLACE };
const tools = [{ type: 'function', function: weather }];

await run('models', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  check(names.includes(MODEL), `no ${MODEL} in ${names}`);
});

await run('models: one', async () => check((await client.models.retrieve(MODEL)).id === MODEL, 'another id'));

await run('chat', async () => {
  const found = await client.chat.completions.create({ model: MODEL, messages: hello, max_tokens: 12 });
  check(found.usage.total_tokens === found.usage.prompt_tokens + found.usage.completion_tokens, 'usage');
  return JSON.stringify(found.choices[0].message.content);
});

await run('stream', async () => {
  const stream = await client.chat.completions.create({
    model: MODEL, messages: hello, max_tokens: 12, stream: true, stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  check(chunks[0].choices[0].delta.role === 'assistant', 'the first chunk has no role');
  check(chunks.at(-1).choices.length === 0 && chunks.at(-1).usage, 'the last chunk has no usage');
  return `${chunks.length} chunks`;
});

await run('stream: the helper with events', async () => {
  const stream = client.chat.completions.stream({ model: MODEL, messages: hello, max_tokens: 12 });
  let text = '';
  stream.on('content', (delta) => { text += delta; });
  const final = await stream.finalContent();
  check(final === text, `${final} is not ${text}`);
  return JSON.stringify(text);
});

await run('stream: left in the middle', async () => {
  const stream = await client.chat.completions.create({ model: MODEL, messages: hello, max_tokens: 200, stream: true });
  for await (const _ of stream) break;
  await client.chat.completions.create({ model: MODEL, messages: hello, max_tokens: 4 });
});

await run('tools', async () => {
  const found = await client.chat.completions.create({
    model: MODEL, messages: ask, tools, tool_choice: 'required', max_tokens: 64, temperature: 0,
  });
  const call = found.choices[0].message.tool_calls[0];
  check(JSON.parse(call.function.arguments).city, call.function.arguments);
  return call.function.arguments;
});

await run('tools: the helper runs them', async () => {
  let calls = 0;
  const runner = client.chat.completions.runTools({
    model: MODEL, messages: ask, max_tokens: 64, temperature: 0, stream: true,
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
    tools: [{ type: 'function', function: {
      ...weather, parse: JSON.parse, function: () => { calls += 1; return 'Sunny.'; },
    } }],
  });
  await runner.done();
  check(calls === 1, `the tool ran ${calls} times`);
});

await run('schema', async () => {
  const found = await client.chat.completions.parse({
    model: MODEL, messages: ask, max_tokens: 64, temperature: 0,
    response_format: { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: PLACE } },
  });
  check(JSON.parse(found.choices[0].message.content).city, found.choices[0].message.content);
});

await run('completions', async () => {
  const stream = await client.completions.create({ model: MODEL, prompt: 'The sea is', max_tokens: 8, stream: true });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
  return JSON.stringify(text);
});

await run('responses', async () => {
  const found = await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 16 });
  return `${found.status} ${JSON.stringify(found.output_text)}`;
});

await run('responses: streamed', async () => {
  const stream = client.responses.stream({ model: MODEL, input: 'Say hello.', max_output_tokens: 64 });
  const kinds = new Set();
  for await (const event of stream) kinds.add(event.type);
  const final = await stream.finalResponse();
  check(kinds.has('response.output_text.delta'), [...kinds].join());
  return `${final.status}, ${kinds.size} kinds of events`;
});

await run('errors', async () => {
  const unknown = await thrown(() => client.chat.completions.create({ model: 'no-such-model', messages: hello }));
  check(unknown instanceof OpenAI.NotFoundError, unknown.message);
  const key = await thrown(() => client.withOptions({ apiKey: 'sk-wrong' }).models.list());
  check(key instanceof OpenAI.AuthenticationError, key.message);
  const range = await thrown(() => client.chat.completions.create({ model: MODEL, messages: hello, temperature: -3 }));
  check(range instanceof OpenAI.BadRequestError, range.message);
  return `${unknown.message} / ${range.message}`;
});

await run('retry', async () => {
  const patient = new OpenAI({ baseURL: BUSY, apiKey: KEY, maxRetries: 2 });
  await patient.chat.completions.create({ model: MODEL, messages: hello, max_tokens: 4 });
});
