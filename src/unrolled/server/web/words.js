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
  token: ["This server asks for its token:", "服务器要求令牌："],
  enter: ["Go on", "继续"],
  none: ["No such model.", "没有这个模型。"],
  nomicrophone: ["The microphone cannot be used: ", "无法使用麦克风："],
  nocamera: ["The camera cannot be used: ", "无法使用摄像头："],
  lost: ["The server cannot be reached.", "连接不上服务器。"],
  beam: ["Beam", "束宽"], n_best: ["Answers", "答案数"], norm: ["Norm", "归一化"], reference: ["A right translation", "正确的译文"],
  prefix: ["Begins with", "开头"], require: ["Has these words", "包含这些词"], replace_unknown: ["Copy unknown words", "复制未知词"],
  threshold: ["Least probability", "最低概率"], length: ["Tokens", "符号数"], temperature: ["Temperature", "温度"], top_k: ["Top k", "前 k 个"],
  top_p: ["Top p", "累积概率 p"], min_p: ["Min p", "最小概率 p"], repetition_penalty: ["Repetition penalty", "重复惩罚"], seed: ["Seed", "随机种子"],
  alternatives: ["Alternatives", "备选"], n: ["Words", "词数"], words: ["Words on the map", "地图上的词数"],
  hotwords: ["Words to listen for", "热词"], phrases: ["The only phrases there are", "仅有的短语"],
};
const TITLES = {
  "Translation": "译文", "Answer": "答案", "Caption": "描述", "What is heard": "听到的内容",
  "Where each word looked": "每个词看了哪里", "The image as the encoder is given it": "编码器看到的图像",
  "What each token adds to the score of each label": "每个符号对每个标签得分的贡献",
  "How much lower the score of each label is without the token (leave-one-out)": "去掉该符号后得分降低多少",
  "The probability of each label after each token": "读完每个符号后各标签的概率",
  "log P, in nats, added up word by word": "逐词累加的 log P（奈特）", "The best that were found": "找到的最好的几个",
  "The best that were found, with log P": "找到的最好的几个及其 log P",
  "The sound, as the model reads it: low tones below, and the words where they are heard": "模型读到的声音：低音在下，词在它被听到的位置",
  "Where the decoder looked at each symbol": "解码器在每个符号处看了哪里",
  "Each word, when it is heard, and how sure the model is": "每个词、听到的时间和把握",
};

let chosen = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export const language = () => chosen;

export function choose(name) {
  chosen = name;
  localStorage.setItem("language", name);
}

export const t = (key) => (WORDS[key] ?? [key, key])[chosen === "zh" ? 1 : 0];

export const title = (text) => (chosen === "zh" && TITLES[text]) || text;
