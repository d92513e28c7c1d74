// What the page says, in English and Chinese. `t("key")` is the text; a title of a picture is looked up by its English text.
const WORDS = {
  skip: ["To the model", "跳到模型"],
  models: ["Models", "模型"],
  settings: ["Settings", "设置"],
  translate: ["Translate", "翻译"],
  "translate.what": ["Translates sentences: see where each word looks, and the beam.", "翻译句子：看每个词关注哪里，看束搜索的树。"],
  classify: ["Sort", "分类"],
  "classify.what": ["Sorts texts by labels: see what each word adds.", "给文本分类：看每个词的贡献。"],
  tag: ["Label", "标注"],
  "tag.what": ["Gives every word a label.", "给每个词一个标签。"],
  "language-model": ["Write", "写作"],
  "language-model.what": ["Writes text, token by token: see the words it did not choose.", "逐个符号地写文本：看它没有选的词。"],
  "word-vectors": ["Look up", "查询"],
  "word-vectors.what": ["Words and their neighbours, analogies, a map.", "词的近邻、类比和地图。"],
  caption: ["Describe", "描述"],
  "caption.what": ["Says what an image shows: see where each word looked.", "说出图像内容：看每个词看了哪里。"],
  transcribe: ["Write down", "听写"],
  "transcribe.what": ["Writes down what is said: speak, or choose a recording.", "写下说的话：说话，或选一段录音。"],
  text: ["Text", "文本"],
  source: ["Sentence", "句子"],
  prompt: ["How it begins", "开头"],
  stop: ["Stop", "停止"],
  read: ["How the model reads this", "模型怎样读这段文字"],
  link: ["Copy a link to this", "复制链接"],
  copied: ["Copied", "已复制"],
  word: ["Word", "词"],
  neighbors: ["Neighbours", "近邻"],
  analogy: ["As A is to B, so C is to ...", "A 之于 B，如 C 之于……"],
  map: ["Draw a map of the words", "画词的地图"],
  drop: ["Drop an image here, paste one, or choose:", "把图像拖到这里、粘贴，或选择："],
  image: ["Image", "图像"],
  camera: ["Take a photo", "拍照"],
  shoot: ["Now", "拍"],
  recording: ["Recording", "录音"],
  speak: ["Speak", "说话"],
  listening: ["Listening …", "正在听……"],
  nothing: ["(nothing)", "（没有）"],
  unsure: ["not sure enough", "不够确定"],
  instead: ["Here it could have written:", "这里本可以写："],
  written: ["written", "已写"],
  wrong: ["That is not it. Try again.", "令牌不对，请再试。"],
  token: ["This server asks for its token:", "服务器要求令牌："],
  enter: ["Go on", "继续"],
  none: ["No such model.", "没有这个模型。"],
  nomicrophone: ["The microphone cannot be used: ", "无法使用麦克风："],
  nocamera: ["The camera cannot be used: ", "无法使用摄像头："],
  cut: ["The pictures show the beginning only.", "图中只显示开头部分。"],
  secure: ["only over https, or on this machine itself", "只能通过 https 或在本机使用"],
  lost: ["The server cannot be reached.", "连接不上服务器。"],
  beam: ["Beam", "束宽"], n_best: ["Answers", "答案数"], norm: ["Norm", "归一化"], reference: ["A right translation", "正确的译文"],
  prefix: ["Begins with", "开头"], require: ["Has these words", "包含这些词"], replace_unknown: ["Copy unknown words", "复制未知词"],
  threshold: ["Least probability", "最低概率"], length: ["Tokens", "符号数"], temperature: ["Temperature", "温度"], top_k: ["Top k", "前 k 个"],
  top_p: ["Top p", "累积概率 p"], min_p: ["Min p", "最小概率 p"], repetition_penalty: ["Repetition penalty", "重复惩罚"], seed: ["Seed", "随机种子"],
  alternatives: ["Alternatives", "备选"], n: ["Words", "词数"], words: ["Words on the map", "地图上的词数"],
  hotwords: ["Words to listen for", "热词"], phrases: ["The only phrases there are", "仅有的短语"],
};
// Titles, notes and rows of pictures, which the server says in English: by their text, or by a pattern with numbers.
const PICTURES = {
  "Translation": "译文", "Answer": "答案", "Caption": "描述", "What is heard": "听到的内容", "Surprise": "意外程度", "The beam": "束搜索树",
  "label": "标签", "translation": "译文", "caption": "描述", "text": "文本", "score": "得分", "seconds": "秒", "seconds a step": "每步秒数",
  "log P, in nats": "log P（奈特）", "nothing the beam could have reached is better": "束搜索能到达的没有更好的", "proved": "已证明", "not proved": "未证明",
  "reference": "参考译文", "its score": "它的得分", "verdict": "结论", "the reference in the beam": "参考译文在束中",
  "What each symbol (row) looked at": "每个符号（行）关注哪里", "What the reference would have looked at": "参考译文会关注哪里",
  "Where each word looked": "每个词看了哪里", "The image as the encoder is given it": "编码器看到的图像",
  "What each token adds to the score of each label": "每个符号对每个标签得分的贡献",
  "How much lower the score of each label is without the token (leave-one-out)": "去掉该符号后各标签得分降低多少",
  "The probability of each label after each token": "读完每个符号后各标签的概率",
  "The probability of each label at each word": "每个词处各标签的概率",
  "What each word (column) adds to the score of each word's label (row)": "每个词（列）对每个词的标签（行）得分的贡献",
  "log P, in nats, added up word by word": "逐词累加的 log P（奈特）", "log P, in nats, added up symbol by symbol": "逐符号累加的 log P（奈特）",
  "The best that were found": "找到的最好的几个", "The best by the search, with log P": "搜索选出的最好的几个及其 log P",
  "The sound as loud and soft tones, low ones below, and the words where they are heard": "声音的强弱，低音在下，词在听到它的位置",
  "The sound as cepstra, the first below, and the words where they are heard": "声音的倒谱，第一个在下，词在听到它的位置",
  "The sound as frames, and the words where they are heard": "声音的帧，词在听到它的位置",
  "How likely each symbol is at each step: spikes, and nothing (the blank) between them": "每一步各符号的概率：尖峰，其间为空白",
  "Where each symbol of the text stands, by the sound around each step, all alignments together": "文本的每个符号在哪里：由每步周围的声音，合并所有对齐",
  "Where the decoder looked at each symbol": "解码器在每个符号处看了哪里",
  "Each word, when it is heard, and how sure the model is": "每个词、听到它的时间和把握", "Gradient norm against distance": "梯度范数与距离",
  "Step by step, likeliest first. Framed: ended. Grey: pruned. Strong: what was returned; underlined: the reference.":
    "逐步展开，最可能的在前。加框：已结束；灰色：被剪去；粗体：返回的结果；下划线：参考译文。",
  "Bits by which each token surprised the model. Point at a token, or press Tab, to see what it expected.": "每个符号让模型意外的比特数。指向一个符号，或按 Tab，看模型原本预期什么。",
  "0 closed, 1 open; the candidate is between -1 and 1.": "0 为关，1 为开；候选值在 -1 与 1 之间。",
  "How much the log-probability of the last token changes with the input that many steps earlier.": "最后一个符号的对数概率随若干步之前的输入变化多少。",
  "Red speaks for the label, blue against it. Beside the diagonal: the words around it that decide.": "红色支持该标签，蓝色反对。对角线旁边：起决定作用的相邻词。",
  "Words near each other have similar vectors (t-SNE: near ones can be trusted, distances between groups not). Search, click a word, turn the wheel, drag. Neighbours and cosines are those of the vectors.":
    "相近的词有相似的向量（t-SNE：近邻可信，组间距离不可信）。可搜索、点击、滚轮缩放、拖动。近邻和余弦来自原向量。",
};
const PATTERNS = [
  [/^Layer (\d+): gates, mean over units$/, "第 $1 层：门（各单元平均）"], [/^Layer (\d+): (.+) over time$/, "第 $1 层：$2 随时间的变化"],
  [/^The (\d+) of (\d+) units that vary most\.$/, "变化最大的单元：$2 个中的 $1 个。"],
  [/^The first ([\d,]+) of ([\d,]+) words$/, "$2 个词中的前 $1 个"],
  [/^Bright: where a word looked, among (\d+) x (\d+) regions, each of which has seen its surroundings too\.$/, "亮处：词看的地方，共 $1 x $2 个区域，每个区域也看到其周围。"],
  [/^Red speaks for the label, blue against it; with the bias, the sum over a row is the score before softmax(?:, less a shift towards the frequencies of the labels)?, times temperature ([\d.]+)\.(?: The mean over labels is taken off: it changes no probability\.)?$/,
    "红色支持该标签，蓝色反对；加上偏置，一行之和即 softmax 之前的得分，温度 $1。"],
];

let chosen = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export const language = () => chosen;

export function choose(name) {
  chosen = name;
  localStorage.setItem("language", name);
}

export const t = (key) => (WORDS[key] ?? [key, key])[chosen === "zh" ? 1 : 0];

export function picture(text) {
  if (chosen !== "zh" || typeof text !== "string") return text;
  const found = PATTERNS.find(([pattern]) => pattern.test(text));
  return PICTURES[text] ?? (found ? text.replace(...found) : text);
}
