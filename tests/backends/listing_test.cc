// Directory listings as servers write them.
#include "backends/http/listing.h"

#include "tests/backends/fetching.h"

namespace glintfs::testing {
namespace {

// "a.img sub/ …", in the order of the page.
std::string Names(const Result<std::vector<ListEntry>>& entries) {
  if (!entries) return entries.error().ToString();
  std::string text;
  for (const ListEntry& entry : *entries)
    text += (text.empty() ? "" : "|") + entry.name + (entry.is_directory ? "/" : "");
  return text;
}

HttpUrl Url(const std::string& text) { return *ParseHttpUrl(text); }

TEST(Listing, NginxHtml) {
  const std::string page = R"(<html>
<head><title>Index of /images/</title></head>
<body>
<h1>Index of /images/</h1><hr><pre><a href="../">../</a>
<a href="sub/">sub/</a>                                               20-Nov-2026 17:57                   -
<a href="a%20b.img">a b.img</a>                                            20-Nov-2026 17:57              100000
<a href="x%26y%3Az.qcow2">x&amp;y:z.qcow2</a>                                      20-Nov-2026 17:57                   0
<a href="a-very-long-name-that-is-cut-in-the-text-of-the-page.img">a-very-long-name-that-is-cut-in-the-text-of-th..&gt;</a> 20-Nov-2026 17:57 1
</pre><hr></body>
</html>
)";
  EXPECT_EQ(Names(ParseListing(Url("http://h/images/"), "text/html", page)),
            "sub/|a b.img|x&y:z.qcow2|a-very-long-name-that-is-cut-in-the-text-of-the-page.img");
}

TEST(Listing, NginxJson) {
  const std::string page = R"([
{ "name":"sub", "type":"directory", "mtime":"Fri, 20 Nov 2026 17:57:51 GMT" },
{ "name":"sock", "type":"other", "mtime":"Fri, 20 Nov 2026 17:57:51 GMT" },
{ "name":"a \"b\"\u00e9.img", "type":"file", "mtime":"Fri, 20 Nov 2026 17:57:51 GMT", "size":100000 }
])";
  EXPECT_EQ(Names(ParseListing(Url("http://h/"), "application/json", page)), "sub/|a \"b\"é.img");
  EXPECT_EQ(Names(ParseListing(Url("http://h/"), "application/json", "[\r\n]")), "");
}

TEST(Listing, ApachePlain) {
  const std::string page = R"(<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html>
 <head>
  <title>Index of /images</title>
 </head>
 <body>
<h1>Index of /images</h1>
<ul><li><a href="/"> Parent Directory</a></li>
<li><a href="a.img"> a.img</a></li>
<li><a href="sub/"> sub/</a></li>
</ul>
<address>Apache/2.4.62 (Debian) Server at h Port 80</address>
</body></html>
)";
  EXPECT_EQ(Names(ParseListing(Url("http://h/images/"), "text/html;charset=UTF-8", page)), "a.img|sub/");
}

TEST(Listing, ApacheFancyTable) {
  const std::string page = R"(<html><head><title>Index of /images</title></head><body><h1>Index of /images</h1>
  <table>
   <tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th><th><a href="?C=S;O=A">Size</a></th><th><a href="?C=D;O=A">Description</a></th></tr>
   <tr><th colspan="5"><hr></th></tr>
<tr><td valign="top"><img src="/icons/back.gif" alt="[PARENTDIR]"></td><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
<tr><td valign="top"><a href="deb%2012.qcow2"><img src="/icons/unknown.gif" alt="[   ]"></a></td><td><a href="deb%2012.qcow2">deb 12.qcow2</a></td><td align="right">2026-11-20 17:57  </td><td align="right"> 98K</td><td>&nbsp;</td></tr>
<tr><td valign="top"><img src="/icons/folder.gif" alt="[DIR]"></td><td><a href="R&amp;D/">R&amp;D/</a></td><td align="right">2026-11-20 17:57  </td><td align="right">  - </td><td>&nbsp;</td></tr>
   <tr><th colspan="5"><hr></th></tr>
</table>
</body></html>
)";
  EXPECT_EQ(Names(ParseListing(Url("http://h/images/"), "text/html", page)), "deb 12.qcow2|R&D/");
}

TEST(Listing, TakesOnlyDirectChildren) {
  const std::string page = R"page(<TITLE>Index of /my images/</TITLE>
<A HREF=/my%20images/abs.img>x</A> <a class="x" href='/my images/abs2.img'>x</a>
<a href="http://h:8080/my%20images/full.img">x</a> <a href="http://h:8080/my%20images/sub/deep.img">x</a>
<a href="http://elsewhere/my%20images/e.img">x</a> <a href="//h:8080/my%20images/f.img">x</a> <a href="/other/o.img">x</a>
<a href="./dot.img">x</a> <a href="..">x</a> <a href="../up.img">x</a> <a href="a/b.img">x</a> <a href="mailto:me@h">x</a>
<a href="javascript:void(0)">x</a> <a href="#top">x</a> <a href="x.img?download=1">x</a> <a name="anchor">x</a>
<a href="bad%zz.img">x</a> <a href="">x</a> <a title="href=not.img" href="t.img">x</a> <abbr href="no.img">x</abbr>
<!-- <a href="comment.img">x</a> --> <a href="/my%20images/">self</a> <a href="frag.img#part">x</a> <a
 href = "spaced.img" >x</a> <a href="unfinished.img)page";
  EXPECT_EQ(Names(ParseListing(Url("http://h:8080/my%20images/"), "text/html", page)),
            "abs.img|abs2.img|full.img|dot.img|t.img|frag.img|spaced.img");
}

TEST(Listing, NamesThatLieAreLeftToTheFrontDoor) {
  const std::string page =
      "<title>Index of /</title><a href=\"%2e%2e\">x</a><a href=\"a%2Fb\">x</a><a href=\"c%0Ad\">x</a>";
  auto entries = ParseListing(Url("http://h/"), "text/html", page);
  ASSERT_OK(entries);
  for (const ListEntry& entry : *entries) EXPECT_NE(entry.name, "..");
}

TEST(Listing, AnythingElseIsNoListing) {
  const HttpUrl url = Url("http://h/");
  for (const auto& [type, body] : std::vector<std::pair<std::string, std::string>>{
           {"text/html", "<html><title>Welcome to nginx!</title><a href=\"a.img\">x</a></html>"},
           {"text/html", ""},
           {"application/json", "{\"error\": 1}"},
           {"application/json", "[{\"name\": 5}]"},
           {"application/json", "[{\"name\": \"x\"}]"},
           {"application/json", "[1]"},
           {"application/json", "[{\"name\":"},
           {"application/octet-stream", "<title>Index of /</title>"},
           {"", ""}})
    EXPECT_EQ(CodeOf(ParseListing(url, type, body)), "not supported") << type << " " << body;
}

TEST(Listing, SurvivesRandomBytes) {
  const std::string seed = "<title>Index of /</title><a href=\"x\"";
  for (uint64_t i = 0; i < 300; ++i) {
    std::string page = seed;
    for (const char c : PatternBytes(400, i))
      page += std::string_view("<>a hHrReEfF=\"'&;#x1/?%!-\n")[static_cast<unsigned char>(c) % 26];
    ASSERT_OK(ParseListing(Url("http://h/"), "text/html", page)) << page;
    (void)ParseListing(Url("http://h/"), "application/json", "[" + page);
  }
}

TEST(Listing, Entities) {
  EXPECT_EQ(DecodeEntities("a&amp;b&lt;&gt;&quot;&#39;&#x41;&apos;"), "a&b<>\"'A'");
  EXPECT_EQ(DecodeEntities("&unknown; &#0; &#xffff; & &amp &;&#;"), "&unknown; &#0; &#xffff; & &amp &;&#;");
}

}  // namespace
}  // namespace glintfs::testing
